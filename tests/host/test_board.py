import asyncio
from pathlib import Path

from llmhost.host.board import StatusBoard
from llmhost.storage.status import DOWN, UP, StatusFile


def test_a_broken_status_file_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / 'status.json'
    path.write_text('{"servers": ')

    async def write() -> bool:
        board = StatusBoard(StatusFile(path))
        board.put('lan', UP)
        return await board.flush()

    assert asyncio.run(write())
    assert StatusFile(path).current().of('lan').state == UP
    assert (tmp_path / 'status.broken.json').read_text() == '{"servers": '


def test_a_status_that_cannot_be_written_is_kept_for_the_next_time(tmp_path: Path) -> None:
    async def write() -> None:
        board = StatusBoard(StatusFile(tmp_path / 'folder' / 'status.json'))
        (tmp_path / 'folder').write_text('in the way')
        board.put('lan', DOWN, error='Connection refused.')
        assert not await board.flush()
        (tmp_path / 'folder').unlink()
        assert await board.flush()

    asyncio.run(write())
    assert StatusFile(tmp_path / 'folder' / 'status.json').current().of('lan').error == 'Connection refused.'
