"""The words at the top of a page, against runs whose losses are known."""

import json

import pytest

from normlab.report.report import PageTarget, make
from normlab.runs.reader import load


@pytest.fixture
def told():
    """`told(path)`: the answer of the runs there, its lines by what they are about."""

    def ask(path, **target):
        answer = make(load(path), PageTarget(path=path / "page.html", **target)).answer
        return answer.question, dict(answer.lines)

    return ask


def test_the_best_of_several_and_what_its_interval_reaches(told, sweep):
    question, lines = told(sweep)
    assert question.text == "What difference does placement make?"
    assert question.setting.startswith("placement: pre, post, deepnorm; seed: 0, 1, 2, 3, 4; norm layernorm,")
    assert lines == {
        "Outcomes": "15 runs finished: 15 stable.",
        # Losses of 2.50, 2.52, 2.49, 2.51 and 2.53: t(4) = 2.776, s = 0.01581, so 2.776 * 0.01581 / sqrt(5).
        "Lowest loss": "placement=pre, with a final validation loss of 2.510 ± 0.020 nats a token (mean and "
        "95 % interval over 5 seeds); 0.110 above the bigram entropy of the text. Next is placement=deepnorm "
        "with 2.510 ± 0.019; over 5 pairs of one seed -0.000 [-0.002, +0.001], taken by itself: equal.",
        "Against placement=pre": "placement=post higher (+0.304 [+0.293, +0.315] nats); placement=deepnorm "
        "equal (+0.000 [-0.001, +0.002] nats).",
        "How sure": "5 seeds a variant; the tests are corrected for how many there are (Holm).",
    }


def test_a_best_one_that_stands_alone(told, tmp_path, write):
    for placement, loss, slope in (("pre", 2.5, 0.01), ("post", 2.9, 0.0135)):
        for seed in range(3):
            write(tmp_path / f"{placement}-{seed}", loss + slope * seed, seed=seed, placement=placement)
    _, lines = told(tmp_path)
    assert lines["Lowest loss"].endswith(
        # t(2) = 4.303: 4.303 * 0.0135 / sqrt(3), and of the differences 0.4, 0.4035, 0.407.
        "Next is placement=post with 2.913 ± 0.034; over 3 pairs of one seed -0.404 [-0.412, -0.395], taken "
        "by itself: lower."
    )
    assert lines["How sure"].startswith("3 seeds a variant are few")


def test_of_one_seed_nothing_is_said_about_chance(told, tmp_path, write):
    for warmup, loss in ((0, 2.5), (10, 2.4)):
        write(tmp_path / f"warmup-{warmup}", loss, warmup=warmup)
    question, lines = told(tmp_path)
    assert question.text == "What difference does warmup make?"
    assert lines["Lowest loss"].startswith(
        "warmup=10, with a final validation loss of 2.400 nats a token; 0.000"
    )
    assert lines["Lowest loss"].endswith("both trained, whether that is more than chance cannot be told.")
    assert "nothing can be concluded about spread" in lines["How sure"]


def test_what_did_not_train_is_named_with_its_first_sign(told, tmp_path, write, event):
    for seed in range(2):
        write(tmp_path / f"pre-{seed}", 2.5, seed=seed, placement="pre")
        first = event(kind="vanishing", step=10 + seed, layers=["layer_00"])
        summary = {"outcome": "stuck", "first_event": first} if seed else {}
        write(tmp_path / f"post-{seed}", 3.1, seed=seed, placement="post", summary=summary)
    _, lines = told(tmp_path)
    assert lines["Outcomes"] == "4 runs finished: 2 stable, 1 untrained, 1 stuck."
    assert lines["Did not train"] == "placement=post (1 of 2 stuck, first vanishing @ 11 layer_00 (1/2))."


def test_seeds_alone_ask_about_chance(told, tmp_path, write):
    for seed in range(2):
        write(tmp_path / f"run-{seed}", 2.5, seed=seed)
    question, lines = told(tmp_path)
    assert question.text == "How much of it is chance?" and "Lowest loss" not in lines


def test_runs_of_a_study_have_its_question_and_what_was_expected(told, tmp_path, write):
    for seed in range(2):
        path = write(tmp_path / f"run-{seed}", 2.5, seed=seed)
        (path / ".hydra").mkdir()
        words = ["placement=post", "experiment=warmup_rescues_post"]
        (path / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
    question, _ = told(tmp_path)
    assert question.text.startswith("Does learning-rate warm-up rescue a deep Post-LN model")
    assert question.text.endswith("?")
    assert question.expected.startswith("Expected of warmup_rescues_post as its file stands: post without")


@pytest.mark.parametrize("words", ["experiment=../../etc/passwd", "experiment=nothing", "nonsense: [", "3"])
def test_a_study_that_is_not_known_is_none(told, tmp_path, write, words):
    path = write(tmp_path / "run", 2.5)
    (path / ".hydra").mkdir()
    (path / ".hydra" / "overrides.yaml").write_text(f"- {words}\n")
    assert told(tmp_path)[0].text == "What became of this run?"
