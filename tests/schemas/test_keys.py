import pytest

from llmhost.errors import RegistryError
from llmhost.schemas import load_key

MINIMAL = {'name': 'laptop', 'sha256': 'a1' * 32}


def test_load_key_fills_in_the_defaults_and_keeps_what_it_does_not_know():
    assert load_key(MINIMAL | {'note': 'spare'}) == MINIMAL | {
        'user': None,
        'models': [],
        'mcp': [],
        'rpm': None,
        'tpm': None,
        'expires': None,
        'created': None,
        'note': 'spare',
    }


def test_load_key_of_a_full_entry_gives_it():
    entry = MINIMAL | {'user': 'ann', 'models': ['gpu-1/*'], 'mcp': ['files'], 'rpm': 60, 'tpm': 9000}
    entry |= {'expires': '2027-01-31', 'created': '2026-11-20T06:00:00+00:00'}
    assert load_key(entry) == entry


def test_load_key_when_the_hash_is_in_upper_case_lowers_it():
    assert load_key(MINIMAL | {'sha256': 'A1' * 32})['sha256'] == 'a1' * 32


@pytest.mark.parametrize(
    'fields, told',
    [
        ({'name': ''}, 'name must be'),
        ({'name': 'a\nb'}, 'name must be'),
        ({'sha256': 'sk-secret'}, 'sha256 must be'),
        ({'sha256': None}, 'sha256 must be'),
        ({'models': ['']}, 'models[0] must be'),
        ({'mcp': 'files'}, 'mcp must be'),
        ({'rpm': 0}, 'rpm must be'),
        ({'tpm': '5'}, 'tpm must be'),
        ({'expires': '31.1.2027'}, 'expires must be a date, such as 2027-01-31'),
        ({'expires': '2027-02-30'}, 'expires must be a date, such as 2027-01-31'),
        ({'created': 'yesterday'}, 'created must be'),
    ],
)
def test_load_key_when_a_field_is_at_fault_says_the_cure_in_one_line(fields, told):
    with pytest.raises(RegistryError) as caught:
        load_key(MINIMAL | fields)
    message = str(caught.value)
    assert told in message
    assert '\n' not in message and 'secret' not in message
