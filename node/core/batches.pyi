from typing import Any

def pack_batch(
    version: int, now_ms: int, wall_ms: int, item_bytes_max: int, commands: list[Any]
) -> bytes | None: ...
