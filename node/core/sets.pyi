from typing import Any

class SetBatches:
    def __init__(self) -> None: ...
    def read(
        self, payload: bytes, table: Any
    ) -> tuple[int, int, int, int, bool, list[int]] | None: ...
    def place(
        self,
        payload: bytes,
        table: Any,
        gate: Any,
        unique: int,
        now_ms: int,
        now_s: int,
        ending: list[tuple[int, bytes]] | None,
        replaced: list[bytes] | None,
        added: list[bytes] | None,
    ) -> int: ...
