from typing import Any

class SetReader:
    def __init__(self, shards: int) -> None: ...
    def read(
        self, data: bytes, start: int, value_bytes_max: int
    ) -> tuple[list[Any], int] | None: ...
