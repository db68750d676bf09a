"""Mixes of requests: closed forms of their moments, seeds, traces made here, and messages."""

import json
import tracemalloc
from itertools import islice, pairwise
from math import exp, log, sqrt

import jsonschema
import numpy as np
import pytest
import yaml

from workloads.requests import Prefix, Request, file_schema, read_mix, requests, statistics
from workloads.requests.arrivals import ARRIVALS
from workloads.requests.lengths import LENGTHS
from workloads.requests.mix import PARTS
from workloads.requests.request import RequestsError
from workloads.requests.traces import TRACES

MANY = 40_000
LENGTH = "+lengths(prompt=lognormal(mean=1000,cv=1.5),output=uniform(1,99))"


def drawn(text, count, seed=0):
    return list(islice(requests(read_mix(text), seed), count))


def gaps(text, count=MANY, seed=0):
    times = [r.arrival_s for r in drawn(text + LENGTH, count, seed)]
    return np.diff([0.0, *times])


def near(found, mean, deviation, count):
    """Within five standard errors: a chance of 6e-7."""
    return abs(found - mean) < 5 * deviation / sqrt(count)


def test_poisson_counts_have_the_variance_of_their_mean():
    found = gaps("poisson(rate=10)")
    assert near(found.mean(), 0.1, 0.1, MANY)
    assert near((found > 0.1).mean(), exp(-1), sqrt(exp(-1) * (1 - exp(-1))), MANY)
    seconds = np.bincount(np.cumsum(found).astype(int))[:-1]
    # the variance of a sample variance is about (m4 - s^4) / n, for Poisson m4 = l + 3 l^2
    assert near(seconds.var(), 10, sqrt(10 + 3 * 100 - 100), len(seconds))


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_gaps_of_a_gamma_process_have_its_mean_and_variation(cv):
    found = gaps(f"gamma(rate=4,cv={cv})")
    assert near(found.mean(), 0.25, 0.25 * cv, MANY)
    kurtosis = 3 + 6 * cv**2  # of a gamma distribution of shape 1 / cv^2
    variance = (0.25 * cv) ** 2
    assert near(found.var(), variance, variance * sqrt(kurtosis - 1), MANY)


def test_bursts_keep_the_rate_and_come_at_once():
    found = gaps("bursts(rate=10,size=7)", 7000)
    assert (found.reshape(-1, 7)[:, 1:] == 0).all()
    assert (found.reshape(-1, 7)[:, 0] > 0).all()
    assert near(found.reshape(-1, 7)[:, 0].mean(), 0.7, 0.7, 1000)
    assert np.allclose(gaps("constant(rate=8)", 100), 0.125)


def test_lengths_have_the_moments_that_are_asked_for():
    found = drawn("poisson(rate=1)" + LENGTH, MANY)
    prompts, outputs = (np.array([getattr(r, k) for r in found]) for k in ("prompt", "output"))
    assert near(prompts.mean(), 1000, 1500, MANY)
    logs = np.log(prompts)
    assert near(logs.mean(), log(1000) - log(1 + 1.5**2) / 2, sqrt(log(1 + 1.5**2)), MANY)
    assert near(outputs.mean(), 50, sqrt((99**2 - 1) / 12), MANY)
    assert (outputs.min(), outputs.max()) == (1, 99)
    assert prompts.min() >= 1
    cut = drawn("poisson(1)+lengths(prompt=lognormal(1000,2,most=1500),output=1)", 2000)
    assert max(r.prompt for r in cut) == 1500


def test_a_seed_gives_the_same_requests_and_another_others():
    text = "gamma(rate=3,cv=2)" + LENGTH + "+prefix(tokens=64,count=3,share=0.5)"
    assert drawn(text, 3000, 7) == drawn(text, 3000, 7)
    assert drawn(text, 10, 7) != drawn(text, 10, 8)
    other = drawn("poisson(rate=9)" + LENGTH, 3000, 7)
    with_prefix = drawn(text, 3000, 7)
    bare = [r.prompt - (r.prefix.tokens if r.prefix else 0) for r in with_prefix]
    assert bare == [r.prompt for r in other], "lengths do not depend on arrivals or prefixes"


def test_a_share_of_requests_begins_with_one_of_some_texts():
    found = drawn("poisson(1)+lengths(100,1)+prefix(tokens=64,count=4,share=0.25)", MANY)
    begins = [r.prefix.id for r in found if r.prefix]
    assert near(len(begins) / MANY, 0.25, sqrt(0.25 * 0.75), MANY)
    assert set(begins) == {f"prefix{i}" for i in range(4)}
    assert {r.prompt for r in found} == {100, 164}
    counts = [begins.count(name) for name in set(begins)]
    assert all(near(n / len(begins), 0.25, sqrt(0.25 * 0.75), len(begins)) for n in counts)


def test_a_closed_loop_has_users_and_no_times():
    mix = read_mix("closed(users=3,think=2.5)+lengths(5,6)")
    assert (mix.closed.users, mix.closed.think) == (3, 2.5)
    found = list(islice(requests(mix), 6))
    assert [r.arrival_s for r in found] == [None] * 6
    assert [r.session for r in found] == ["user0", "user1", "user2"] * 2
    assert read_mix("poisson(1)+lengths(1,1)").closed is None


def test_a_mix_ends_at_its_limit():
    assert len(list(requests(read_mix("poisson(5)+lengths(1,1)+limit(requests=2500)")))) == 2500
    found = list(requests(read_mix("constant(4)+lengths(1,1)+limit(seconds=10)")))
    assert len(found) == 40
    assert found[-1].arrival_s == 10.0


def test_memory_stays_flat():
    mix = read_mix("poisson(10)" + LENGTH)
    found = requests(mix)
    next(found)
    tracemalloc.start()
    for _ in islice(found, 50_000):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2225670,879,0
2023-11-16 18:16:46.6805900,91,16
"""


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_an_azure_trace(tmp_path):
    file = written(tmp_path, "a.csv", AZURE)
    found = list(requests(read_mix(f"azure({file})")))
    assert [(r.prompt, r.output) for r in found] == [(374, 44), (396, 109), (91, 16)]
    assert [r.arrival_s for r in found] == pytest.approx([0, 4.314579, 60])
    zoned = (
        AZURE.replace("0,3", "0+00:00,3").replace("0,8", "0+00:00,8").replace("0,9", "0+00:00,9")
    )
    other = written(tmp_path, "b.csv", zoned)
    assert [r.arrival_s for r in requests(read_mix(f"azure({other})"))][-1] == 60
    faster = list(requests(read_mix(f"azure({file})+constant(rate=2)")))
    assert [r.arrival_s for r in faster] == [0.5, 1.0, 1.5]
    column = f"poisson(1)+lengths(empirical({file},ContextTokens),1)"
    assert {r.prompt for r in drawn(column, 500)} == {374, 396, 879, 91}


def test_a_mooncake_trace_shares_leading_blocks(tmp_path):
    rows = [
        {"timestamp": 500, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 1500, "input_length": 1100, "output_length": 6, "hash_ids": [1, 2, 9]},
        {"timestamp": 1500, "input_length": 300, "output_length": 7, "hash_ids": [7]},
        {"timestamp": 2000, "input_length": 700, "output_length": 8, "hash_ids": [1, 2]},
    ]
    file = written(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    assert list(requests(read_mix(f"mooncake({file})"))) == [
        Request(0.0, 1500, 5),
        Request(1.0, 1100, 6, Prefix("2", 1024)),
        Request(1.0, 300, 7),
        Request(1.5, 700, 8, Prefix("2", 700)),
    ]


def test_a_conversation_is_a_request_for_each_answer(tmp_path):
    turns = [("human", "x" * 41), ("gpt", "y" * 20), ("human", "z" * 8), ("gpt", "w" * 4)]
    talk = {"id": "c1", "conversations": [{"from": f, "value": v} for f, v in turns]}
    counted = {"id": "c2", "conversations": [{"from": "user", "tokens": 9},
                                             {"from": "assistant", "tokens": 3}]}  # fmt: skip
    wanted = [
        (11, 5, None, "c1"),  # 41 / 4, rounded up
        (11 + 5 + 2, 1, Prefix("c1", 16), "c1"),
        (9, 3, None, "c2"),
    ]
    lines = json.dumps(talk) + "\n\n" + json.dumps(counted)
    for name, text in (("s.jsonl", lines), ("s.json", json.dumps([talk, counted], indent=1))):
        file = written(tmp_path, name, text)
        found = list(requests(read_mix(f"sharegpt({file},4)+constant(1)")))
        assert [(r.prompt, r.output, r.prefix, r.session) for r in found] == wanted
        assert [r.arrival_s for r in found] == [1.0, 2.0, 3.0]


def test_conversations_of_a_closed_loop_are_dealt_to_its_users(tmp_path):
    turns = {"a": 2, "b": 1, "c": 3}
    said = [{"from": "human", "tokens": 9}, {"from": "gpt", "tokens": 3}]
    talks = [{"id": name, "conversations": n * said} for name, n in turns.items()]
    file = written(tmp_path, "s.json", json.dumps(talks))
    found = list(requests(read_mix(f"sharegpt({file},4)+closed(users=2)")))
    assert [r.session for r in found] == ["user0"] * 2 + ["user1"] + ["user0"] * 3
    assert [r.prefix.id for r in found if r.prefix] == ["a", "c", "c"]
    one = requests(read_mix(f"azure({written(tmp_path, 'a.csv', AZURE)})+closed(users=2)"))
    assert [r.session for r in one][:3] == ["user0", "user1", "user0"]


BROKEN = {
    "azure": [
        (AZURE.replace("ContextTokens", "ContextToken"),
         ":1: no column 'ContextTokens'; did you mean 'ContextToken'?"),
        (AZURE.replace(",396,", ",many,"), ":3: ContextTokens: 'many' is not a whole number"),
        (AZURE.replace("2023-11-16 18:15:50", "yesterday"), ":3: TIMESTAMP: 'yesterday.995"),
        (AZURE.replace("18:16:46", "17:16:46"), "request 3 comes"),
        (AZURE.replace(",396,109", ""), ":3: ContextTokens: 'None' is not a whole number"),
        ("", ":1: no column 'TIMESTAMP'; the file is empty"),
    ],
    "mooncake": [
        ('{"timestamp": 1}\n', ":1: missing key 'input_length'"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1}\n{"a"\n', ":2: not valid JSON"),
        ('{"timestamp": "1", "input_length": 1, "output_length": 1}', ":1: timestamp: '1' is not"),
        ('{"timestamp": 1, "input_length": 0, "output_length": 1}', ":1: input_length: '0'"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}',
         ":1: hash_ids: must be a list of whole numbers"),
        ("3\n", ":1: an object {...} is expected"),
    ],
    "sharegpt": [
        ('{"id": 1}', ":1: missing list 'conversations'"),
        ('{"conversations": [{"from": "humn", "value": ""}]}',
         ":1: conversations.0.from: unknown 'humn'; did you mean 'human'?"),
        ('{"conversations": [{"from": "human"}]}', ":1: conversations.0: a turn has a text"),
        ('[{"conversations": []}, 4]', ": entry 2: an object"),
    ],
}  # fmt: skip


def test_every_trace_has_broken_examples():
    assert set(BROKEN) == set(TRACES)


@pytest.mark.parametrize(
    ("kind", "text", "message"), [(k, t, m) for k, rows in BROKEN.items() for t, m in rows]
)
def test_a_broken_trace_is_refused_at_its_line(tmp_path, kind, text, message):
    file = written(tmp_path, "trace", text)
    more = ",characters_per_token=4)+poisson(1)" if kind == "sharegpt" else ")"
    with pytest.raises(RequestsError) as problem:
        list(requests(read_mix(f"{kind}({file}{more}")))
    assert f"{file}{message}" in str(problem.value) or message in str(problem.value)
    assert str(problem.value).startswith(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poison(rate=10)+lengths(1,2)", "unknown 'poison'; did you mean 'poisson'?"),
        (
            "poisson(rate=10)+lengths(1,lognorml(3))",
            "unknown 'lognorml'; did you mean 'lognormal'?",
        ),
        ("poisson(rat=10)+lengths(1,2)", "arrivals.poisson.rat: unknown key 'rat'; did you mean"),
        ("poisson(rate=0)+lengths(1,2)", "arrivals.poisson.rate: must be greater than 0"),
        ("poisson(rate=fast)+lengths(1,2)", "arrivals.poisson.rate: must be a number, not 'fast'"),
        ("poisson()+lengths(1,2)", "arrivals.poisson: missing key 'rate'"),
        ("poisson(1,2)+lengths(1,2)", "poisson: too many arguments; it takes rate"),
        ("poisson(1,rate=2)+lengths(1,2)", "poisson: 'rate' is given twice"),
        ("poisson(1)+gamma(1,2)+lengths(1,2)", "arrivals is given twice"),
        ("poisson(1)+lengths(1)", "lengths: missing 'output'"),
        ("poisson(1)+lengths(1,0)", "lengths.output.fixed.tokens: must be greater than 0"),
        ("poisson(1)+lengths(uniform(9,1),2)", "least is 9, most is 1: exchange them"),
        ("lengths(1,2)", "when do requests come? One of poisson, gamma"),
        ("azure(x.csv)+lengths(1,2)", "lengths: a trace has lengths of its own"),
        ("azure(x.csv)+prefix(3)", "prefix: a trace has prefixes of its own"),
        ("sharegpt(x.json,4)", "conversations have no times; add arrivals"),
        ("poisson(1)+lengths(1,2)+limit()", "limit: needs requests or seconds"),
        ("closed(2)+lengths(1,2)+limit(seconds=3)", "a closed loop has no times of its own"),
        ("poisson(rate=3", "',' is expected after 'poisson(rate=3', not the end"),
        ("poisson(1)lengths(1,2)", "'+' is expected after 'poisson(1)', not 'lengths'"),
        ("", "a name or a number is expected after '', not the end"),
        ("poisson(rate=(3))", "a name or a number is expected after 'poisson(rate=', not '('"),
    ],
)
def test_a_line_that_is_not_right_says_what_would_be(text, message):
    with pytest.raises(RequestsError) as problem:
        list(islice(requests(read_mix(text)), 1))
    assert message in str(problem.value)


def test_a_file_says_the_same_as_a_line(tmp_path):
    text = {
        "arrivals": {"gamma": {"rate": 3, "cv": 2}},
        "lengths": {"prompt": {"lognormal": {"mean": 1000, "cv": 1.5}}, "output": 7},
        "prefix": {"tokens": 64, "count": 3, "share": 0.5},
        "limit": {"requests": 100},
    }
    file = written(tmp_path, "mix.yaml", yaml.safe_dump(text))
    line = ("gamma(rate=3,cv=2)+lengths(prompt=lognormal(1000,1.5),output=7)"
            "+prefix(tokens=64,count=3,share=0.5)+limit(requests=100)")  # fmt: skip
    assert list(requests(read_mix(file))) == list(requests(read_mix(line)))
    jsonschema.validate(text, file_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**text, "limts": {}}, file_schema())


def test_a_file_that_is_not_right_names_its_lines(tmp_path):
    text = "arrivals:\n  poisson: {rat: 3}\nlengths:\n  prompt: 5\n  outputs: 6\nlimits: {}\n"
    file = written(tmp_path, "mix.yaml", text)
    with pytest.raises(RequestsError) as problem:
        read_mix(file)
    lines = str(problem.value).splitlines()
    assert f"{file}:2: arrivals.poisson.rat: unknown key 'rat'; did you mean 'rate'?" in lines
    assert f"{file}:5: lengths.outputs: unknown key 'outputs'; did you mean 'output'?" in lines
    assert f"{file}:6: limits: unknown key 'limits'; did you mean 'limit'?" in lines


def test_statistics_are_those_of_the_requests():
    found = [Request(float(i), 100 + i, 10, Prefix("a", 50), f"s{i % 5}") for i in range(101)]
    document = statistics(found)
    assert document["requests"] == 101
    assert document["duration_s"] == 100
    assert document["requests_per_second"] == 1
    assert document["prompt_tokens"]["p50"] == 150
    assert document["prompt_tokens"]["mean"] == 150
    assert document["prompt_tokens"]["cv"] == pytest.approx(sqrt((101**2 - 1) / 12) / 150)
    assert document["output_tokens"]["max"] == 10
    assert document["prefix_share"] == pytest.approx(50 / 150)
    assert document["sessions"] == 5
    assert document["tokens_per_second"] == pytest.approx(160)
    assert "gaps" not in statistics([Request(None, 1, 1)])
    with pytest.raises(RequestsError, match="there are no requests"):
        statistics([])


def test_rates_of_requests_and_of_tokens_are_of_the_same_time():
    """Two requests have one gap."""
    mix = read_mix("constant(rate=1)+lengths(100,100)+limit(requests=2)")
    document = statistics(requests(mix))
    assert document["requests_per_second"] == 1
    assert document["tokens_per_second"] == 200


@pytest.mark.parametrize("name", LENGTHS)
def test_every_distribution_has_whole_lengths_of_at_least_one(name, tmp_path):
    file = written(tmp_path, "a.csv", AZURE)
    text = {
        "fixed": "3",
        "uniform": "1,9",
        "lognormal": "2,3",
        "empirical": f"{file},ContextTokens",
    }
    found = drawn(f"poisson(1)+lengths({name}({text[name]}),1)", 3000)
    assert all(type(r.prompt) is int and r.prompt >= 1 for r in found)


@pytest.mark.parametrize("name", sorted(set(ARRIVALS) - {"closed"}))
def test_every_process_keeps_its_rate_and_the_order_of_time(name):
    more = {"gamma": ",cv=2", "bursts": ",size=10"}.get(name, "")
    times = [r.arrival_s for r in drawn(f"{name}(rate=50{more})+lengths(1,1)", MANY)]
    assert all(a <= b for a, b in pairwise(times))
    assert MANY / times[-1] == pytest.approx(50, rel=0.1)


def test_every_part_has_keys_of_its_own_order():
    assert PARTS["lognormal"][:2] == ["mean", "cv"]
    assert set(ARRIVALS) | set(TRACES) | set(LENGTHS) < set(PARTS)
