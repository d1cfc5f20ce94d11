import pytest

from normlab.describe.words import Request, parse
from normlab.errors import UserError


def request(this="", against=None, **more):
    return Request(overrides=this.split(), against=None if against is None else against.split(), **more)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ([], request()),
        (["placement=post", "depth=24"], request("placement=post depth=24")),
        (["a=1", "--against", "b=2"], request("a=1", "b=2")),
        (["a=1", "--against", "b=2", "c=3"], request("a=1", "b=2 c=3")),
        (["--against", "b=2", "c=3"], request("", "b=2 c=3")),
        (["a=1", "--against=b=2", "--against", "c=3"], request("a=1", "b=2 c=3")),
        (["a=1", "--against", "b=2 c=3"], request("a=1", "b=2 c=3")),
        (["a=1", "--json", "--against", "b=2", "--vocab", "5"], request("a=1", "b=2", as_json=True, vocab=5)),
        (["--vocab=50257", "a=1"], request("a=1", vocab=50257)),
        (["-cd", "mine", "a=1", "--against", "b=2"], request("a=1", "b=2", config_dir="mine")),
        (["a=1", "--against", "b=2", "--config-dir=mine"], request("a=1", "b=2", config_dir="mine")),
        (["a=1", "--", "b=2"], request("a=1 b=2")),
    ],
)
def test_words_go_to_the_side_they_stand_on(typed, wanted):
    assert parse(typed) == wanted


def test_a_value_with_spaces_is_one_word():
    assert parse(["data.path=my notes.txt"]).overrides == ["data.path=my notes.txt"]
    assert parse(["--against", "data.path=my notes.txt"]).against == ["data.path=my notes.txt"]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (["a=1", "--against"], "--against needs the other config"),
        (["a=1", "--against", "--json"], "--against needs the other config"),
        (["--agianst", "a=1"], "no option --agianst. Did you mean '--against'? See normlab describe --help"),
        (["--jsn"], "Did you mean '--json'"),
        (["-m", "seed=1,2"], "describe has no --multirun; it describes one config, or two with --against"),
        (["--cfg", "job"], "describe has no --cfg"),
        (["-cd", "mine", "--cfg", "job"], "describe has no --cfg"),
        (["placement"], "'placement' is not KEY=VALUE. See normlab describe --help"),
        (["--vocab", "many"], "--vocab needs a number of tokens"),
        (["--vocab", "0"], "--vocab needs a number of tokens"),
        (["--vocab"], "--vocab needs a number of tokens"),
        (["-cd"], "--config-dir needs a value"),
        (["-cd", "a", "-cd", "b"], "--config-dir can be given once"),
    ],
)
def test_words_that_cannot_be_used_are_refused(typed, problem):
    with pytest.raises(UserError) as refusal:
        parse(typed)
    assert problem in str(refusal.value)
