"""Who of a memory group is in place."""
from llmhost.host.turns import Member, Turn, next_turn

PATIENCE = 10.0


def turn(*members: Member, in_place: dict[str, float] | None = None, now: float = 100.0) -> Turn:
    return next_turn(members, in_place or {}, now, PATIENCE)


def test_nobody_is_started_for_nobody() -> None:
    assert turn(Member('a'), Member('b')) == Turn()


def test_the_longest_waiting_is_first() -> None:
    assert turn(Member('a', waiting_since=5), Member('b', waiting_since=4)).holder == 'b'


def test_the_one_whose_turn_is_longest_ago_comes_first() -> None:
    members = Member('a', waiting_since=1), Member('b', waiting_since=4)
    assert turn(*members, in_place={'a': 80}).holder == 'b'
    assert turn(*members, in_place={'a': 80, 'b': 90}).holder == 'a'
    assert turn(members[0], Member('b'), in_place={'a': 80}).holder == 'a'


def test_a_model_in_place_stays_while_nobody_else_waits() -> None:
    assert turn(Member('a', True, ready_since=1), Member('b')) == Turn('a')


def test_a_model_that_nobody_uses_or_waits_for_gives_way_at_once() -> None:
    assert turn(Member('a', True, ready_since=99), Member('b', waiting_since=100)) == Turn(None, ('a',))


def test_a_model_in_place_serves_on_until_the_other_has_waited_its_patience() -> None:
    holder, other = Member('a', True, ready_since=1, running=1, waiting_since=50), Member('b', waiting_since=95)
    assert turn(holder, other) == Turn('a', wake_at=105)
    assert turn(holder, other, now=105) == Turn(), 'it serves nobody new, and is not stopped while it is used'
    assert turn(Member('a', True, ready_since=1, waiting_since=50), other, now=105) == Turn(None, ('a',))


def test_a_turn_begins_when_the_model_is_ready() -> None:
    other = Member('b', waiting_since=1)
    assert turn(Member('a', True, waiting_since=2), other) == Turn('a')
    assert turn(Member('a', True, ready_since=99, waiting_since=2), other) == Turn('a', wake_at=109)


def test_of_two_that_run_already_the_idle_one_is_stopped() -> None:
    idle, busy = Member('a', True, ready_since=1), Member('b', True, ready_since=2, running=1)
    assert turn(idle, busy, in_place={'a': 80}) == Turn('b', ('a',))
