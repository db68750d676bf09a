"""What is fetched of tensors that are away: hit rates, windows of neurons, what is conserved."""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from mappers.residence import layers
from workloads import build, decode, prefill, read_config
from workloads.phase import encode
from workloads.transforms.apply import apply
from workloads.transforms.edit import PhaseError
from workloads.transforms.expert_cache import hit_rate, wanted
from workloads.transforms.routing import _sample

STEP = build(read_config("opt-6.7b"), decode(1, 512))
MIXTRAL = build(read_config("mixtral-8x7b"), decode(4, 512))


def read(graph):
    """Bytes read of tensors that are away, and bytes fetched, per layer."""
    asked = [a for kind in layers(graph) for a in kind.asked]
    return sum(a.read for a in asked), sum(a.fetched for a in asked)


def chunks(graph):
    """Bytes that lie together, of what is read of each tensor that is away."""
    return {a.tensor.name: a.chunk for kind in layers(graph) for a in kind.asked}


@pytest.mark.parametrize("text", ["offload", "offload(kv,share=0.3)", "offload(only=fc*)"])
def test_the_work_stays_what_it_was(text) -> None:
    after = apply(STEP, text)
    assert after.nodes == STEP.nodes
    same = ("params", "weight_bytes", "kv_bytes")
    assert [getattr(after, n) for n in same] == [getattr(STEP, n) for n in same]


def test_only_what_is_named_goes() -> None:
    gone = {n for n, t in apply(STEP, "offload(only=fc?)").tensors.items() if t.away}
    assert gone == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    gone = {n for n, t in apply(STEP, "offload(only=lm_head)").tensors.items() if t.away}
    assert gone == {"embed_tokens.weight"}, "tied, and outside of layers"
    gone = {n for n, t in apply(STEP, "offload").tensors.items() if t.away}
    assert not gone & {"embed_tokens.weight", "k_cache"}


def test_a_table_is_fetched_by_rows() -> None:
    (kind,) = layers(apply(STEP, "offload(only=embed_positions)"))
    (asked,) = kind.asked
    assert (asked.read, asked.chunk) == (4096 * 2, 4096 * 2)


@pytest.mark.parametrize(
    ("first", "plain", "step"),
    [
        ("quantize(w8a8)+outliers", "offload", decode(1, 512)),
        ("recycle(4,128)", "offload(kv)", decode(2, 512)),
    ],
)
def test_a_few_gathered_elements_do_not_cut_a_tensor_into_pieces(first, plain, step) -> None:
    """Outlier columns and recycled keys are gathered of what a multiplication reads whole."""
    graph = build(read_config("opt-125m"), step)
    for kind in layers(apply(graph, f"{first}+{plain}")):
        for asked in kind.asked:
            assert asked.chunk == 0, asked.tensor.name


@pytest.mark.parametrize(
    ("graph", "text", "message"),
    [
        (STEP, "offload(weight)", "did you mean 'weights'"),
        (STEP, "offload(share=1.5)", "from 0 to 1"),
        (STEP, "offload(overlap=maybe)", "write yes or no"),
        (STEP, "offload(only=q_prj)", "did you mean 'q_proj'"),
        (STEP, "offload(only=act)", "read no weights"),
        (STEP, "load_neurons(5)", "apply sparse_neurons"),
        (apply(STEP, "sparse_neurons(0.1,rank=8)"), "load_neurons(5)", "apply offload"),
        (STEP, "expert_cache(0.5)", "has no experts"),
        (MIXTRAL, "expert_cache(0.5,policy=lfu)", "no policy 'lfu'"),
        (MIXTRAL, "expert_cache(0.5,hit=2)", "from 0 to 1"),
    ],
)
def test_what_is_wrong_is_said(graph, text, message) -> None:
    with pytest.raises(UserError, match=message):
        apply(graph, text)


def test_an_encoder_has_no_cache() -> None:
    with pytest.raises(PhaseError, match="have no cache in its phase encode"):
        apply(build(read_config("vit-base"), encode(1)), "offload(kv)")


@pytest.mark.parametrize("order", [0, 1])
def test_formats_and_places_go_together(order) -> None:
    parts = ["quantize(w4a16)", "offload"]
    after = apply(STEP, "+".join(parts[::-1] if order else parts))
    size, fetched = read(after)
    assert size == fetched < 0.27 * read(apply(STEP, "offload"))[0]


def test_a_draft_and_its_verification_miss_what_their_tokens_miss() -> None:
    """A draft's step has one token for each text, its verification five."""
    plain = build(read_config("mixtral-8x7b"), decode(1, 512))
    after = apply(plain, "speculate(4,0.7)+expert_cache(0.25,skew=1)")
    seen = {kind.name: kind.asked[0].away.missed for kind in layers(after)}
    for name, tokens in (("draft", 1), ("", 5)):
        assert seen[name] == pytest.approx(1 - hit_rate(wanted(8, 2, tokens, 1.0), 2.0, "lru"))
    assert seen["draft"] < seen[""] - 0.01
    assert (
        not apply(plain, "expert_cache(0.25,skew=1)")
        .tensors["experts.gate_up_proj.weight"]
        .away.by_op
    )


@pytest.mark.parametrize("cache", ["0", "0.25,skew=1", "0.5,predictor=0.8"])
@pytest.mark.parametrize("place", ["", "to=ssd,share=0.5", "overlap=no"])
def test_a_cache_of_experts_is_the_same_before_and_after_it_is_placed(cache, place) -> None:
    parts = [f"expert_cache({cache})", f"offload({place})"]
    one, other = (apply(MIXTRAL, "+".join(order)) for order in (parts, parts[::-1]))
    assert one == other
    away = one.tensors["experts.gate_up_proj.weight"].away
    alone = apply(MIXTRAL, parts[0]).tensors["experts.gate_up_proj.weight"].away
    assert (away.missed, away.held, away.early) == (alone.missed, alone.held, alone.early)


@given(st.floats(0, 1), st.floats(0, 2), st.sampled_from(["lru", "static"]))
def test_what_is_hit_and_fetched_is_what_is_active(held, skew, policy) -> None:
    after = apply(MIXTRAL, f"expert_cache({held},skew={skew},policy={policy})")
    size, fetched = read(after)
    experts = [n.op for n in MIXTRAL if n.op.kind == "experts"]
    active = sum(MIXTRAL.tensors[op.inputs[1]].bytes * op.active / 8 for op in experts)
    assert size == pytest.approx(active)
    assert 0 <= fetched <= size * (1 + 1e-9)
    hits = size * (1 - after.tensors[experts[0].inputs[1]].away.missed)
    assert hits + fetched == pytest.approx(active)


@given(st.floats(0, 1), st.integers(1, 32))
def test_without_favorites_the_hit_rate_is_what_is_held(held, tokens) -> None:
    rates = wanted(32, 4, tokens, 0.0)
    for policy in ("lru", "static"):
        assert hit_rate(rates, 32 * held, policy) == pytest.approx(held, abs=1e-6)


def test_a_static_cache_of_zipf() -> None:
    """One of E for each token: t is such that sum 1 - exp(-t / i) = 1; the first C of them."""
    rates = wanted(64, 1, 1, 1.0)
    assert sum(rates) == pytest.approx(1)
    assert hit_rate(rates, 16, "static") == pytest.approx(sum(rates[:16]))
    assert hit_rate(rates, 16.5, "static") == pytest.approx(sum(rates[:16]) + rates[16] / 2)
    assert hit_rate(rates, 16, "static") > hit_rate(rates, 16, "lru") > 16 / 64


def test_wanted_is_what_the_router_of_routing_does() -> None:
    tokens, experts, picked, skew = 4, 16, 4, 1.0
    seen = np.zeros(experts)
    rng = np.random.default_rng(3)
    odds = -skew * np.log(np.arange(1, experts + 1))
    for _ in range(4000):
        noisy = odds + rng.gumbel(size=(tokens, experts))
        seen[np.unique(np.argpartition(-noisy, picked - 1, axis=1)[:, :picked])] += 1
    assert np.abs(seen / 4000 - wanted(experts, picked, tokens, skew)).max() < 0.06
    rows = _sample(experts, 4000, picked, skew, 0)  # one token at a time: shares of rows
    assert rows[0] / 4000 == pytest.approx(wanted(experts, picked, 1, skew)[0], rel=0.1)


@pytest.mark.parametrize(("room", "skew"), [(8, 1.0), (16, 0.5), (24, 1.5)])
def test_che_s_approximation_is_a_simulated_lru_cache(room, skew) -> None:
    """Steps draw each expert independently with its own probability, and look before they load."""
    rates = wanted(32, 4, 1, skew)
    rng, cache = random.Random(7), OrderedDict()
    hits = total = 0
    for step in range(20_000):
        drawn = [i for i, a in enumerate(rates) if rng.random() < a]
        rng.shuffle(drawn)
        if step > 1000:
            total += len(drawn)
            hits += sum(i in cache for i in drawn)
        for i in drawn:
            cache[i] = None
            cache.move_to_end(i)
            if len(cache) > room:
                cache.popitem(last=False)
    assert hit_rate(rates, room, "lru") == pytest.approx(hits / total, abs=0.02)


SPARSE = "sparse_neurons(0.03,rank=1024)+offload(only=fc?)"


def test_a_window_of_neurons_in_llm_in_a_flash() -> None:
    """OPT-6.7B at 3 %, a window of 5: of all neurons 0.03 * 0.97^5 = 2.6 % are new (the paper has
    2.4 %), 1 - 0.97^5 = 14.1 % are held (15.5 %); a bundle is two rows of 8 KiB."""
    after = apply(STEP, f"{SPARSE}+load_neurons(5)")
    for name in ("fc1.weight", "fc2.weight"):
        away, active = after.tensors[f"{name}.active"].away, after.tensors[f"{name}.active"]
        new = away.missed * active.elements / after.tensors[name].elements
        assert new == pytest.approx(0.03 * 0.97**5, rel=0.005)
        assert new == pytest.approx(0.024, rel=0.1)
        assert after.tensors[name].away.held == pytest.approx(1 - 0.97**5, rel=0.005)
        assert chunks(after)[active.name] == 2 * 4096 * 2
    measured = apply(STEP, f"{SPARSE}+load_neurons(5,fresh=0.024,bundle=no)")
    active = measured.tensors["fc1.weight.active"]
    new = active.away.missed * active.elements / measured.tensors["fc1.weight"].elements
    assert new == pytest.approx(0.024)
    assert chunks(measured)[active.name] == 4096 * 2


def test_a_window_of_neurons_stays_where_they_are_put_again() -> None:
    placed = "sparse_neurons(0.03,rank=1024)+offload(only=fc?,to=ssd,share=0.5,overlap=no)"
    again = apply(STEP, f"{SPARSE}+load_neurons(5)+offload(only=fc?,to=ssd,share=0.5,overlap=no)")
    for name in ("fc1.weight", "fc2.weight"):
        assert again.tensors[name].away.held == pytest.approx(1 - 0.97**5, rel=0.005)
    assert again == apply(STEP, f"{placed}+load_neurons(5)")


@pytest.mark.parametrize("later", ["quantize(w4a16)", "sparse(2:4)"])
@pytest.mark.parametrize("window", ["", "+load_neurons(5)"])
def test_neurons_are_as_small_as_their_format_says_in_any_order(later, window) -> None:
    """Rows of 4096 numbers; of a bundle, two."""
    one, other = apply(STEP, f"{SPARSE}{window}+{later}"), apply(STEP, f"{later}+{SPARSE}{window}")
    assert chunks(one) == chunks(other)
    assert read(one) == read(other)
    before = chunks(apply(STEP, f"{SPARSE}{window}"))["fc1.weight.active"]
    assert before == 8192 * (2 if window else 1)
    assert 0.2 * before < chunks(one)["fc1.weight.active"] < 0.6 * before


def test_independent_neurons_in_a_window_by_simulation() -> None:
    rng = np.random.default_rng(5)
    on = rng.random((2000, 500)) < 0.1
    fresh = [on[i] & ~on[i - 4 : i].any(axis=0) for i in range(4, 2000)]
    assert np.mean(fresh) == pytest.approx(0.1 * 0.9**4, rel=0.02)


def test_no_window_reads_all_active_neurons_in_rows_in_either_order() -> None:
    one = apply(STEP, SPARSE)
    other = apply(STEP, "+".join(SPARSE.split("+")[::-1]))
    for graph in (one, other):
        assert chunks(graph)["fc1.weight.active"] == 8192
        assert read(graph)[0] == read(graph)[1]
    assert read(one) == read(other)
    assert read(apply(STEP, f"{SPARSE}+load_neurons(0)"))[1] == read(one)[1]


def test_a_draft_and_its_verification_fetch_each_for_themselves() -> None:
    graph = build(read_config("llama-3-8b"), decode(1, 512))
    after = apply(graph, "offload+speculate(4,0.8)")
    counts = {kind.name: kind.count for kind in layers(after)}
    assert counts == {"draft": 4 * 16, "": 32}


LLAMA = build(read_config("llama-3-8b"), decode(1, 512))


def test_what_runs_several_times_outside_of_layers_is_not_a_layer() -> None:
    """A draft's head (4 times), Medusa's 4 heads, a head that looks twice."""
    for first in ("speculate(4,0.7)", "speculate(4,0.7,draft=medusa)", "early_exit(16,0.5)"):
        after = apply(LLAMA, f"{first}+offload")
        gone = {name for name, tensor in after.tensors.items() if tensor.away}
        assert gone == {n for n, t in apply(LLAMA, "offload").tensors.items() if t.away}, first
    one, other = apply(LLAMA, "speculate(4,0.7)+offload"), apply(LLAMA, "offload+speculate(4,0.7)")
    assert {n for n, t in one.tensors.items() if t.away} == {
        n for n, t in other.tensors.items() if t.away
    }
    assert read(one) == read(other)


def test_an_embedding_of_a_decoder_is_not_a_layer_and_a_single_layer_is() -> None:
    graph = apply(build(read_config("bart-large"), decode(1, 64)), "offload")
    assert not [t.name for t in graph.tensors.values() if t.kind == "table" and t.away]
    graph = apply(build(read_config("deepseek-v2-lite"), decode(1, 64)), "offload")
    dense = {t for node in graph if node.layer == "dense" for t in node.op.inputs}
    dense = {t for t in dense if graph.tensors[t].kind == "weight"}
    assert dense
    assert all(graph.tensors[t].away for t in dense)


def test_a_prompt_reads_each_weight_once() -> None:
    graph = build(read_config("llama-3-8b"), prefill(2, 700))
    assert read(apply(graph, "offload")) == read(
        apply(build(read_config("llama-3-8b"), decode(1, 8)), "offload")
    )
