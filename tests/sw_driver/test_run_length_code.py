"""The driver's run-length coding: nothing is lost, nothing grows, nothing malformed passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oarlock.gen.interpret import evaluate
from oarlock.gen.tflite_import import load
from oarlock.hw import isa
from oarlock.sw_driver.run_length import GROUP, RUN_MAX, RunLengthError, decode, encode
from shared_data import models, real_inputs


@st.composite
def tensors(draw):
    """Draw words of runs of zeros and of values, and their zero point."""
    zero = draw(st.integers(-128, 127))
    parts = draw(st.lists(st.one_of(
        st.binary(max_size=20),
        st.integers(0, 60).map(lambda length: bytes([zero & 0xFF]) * length),
        st.sampled_from([RUN_MAX - 1, RUN_MAX, RUN_MAX + 1]).map(
            lambda groups: bytes([zero & 0xFF]) * (GROUP * groups)))))
    values = b"".join(parts)
    return np.frombuffer(values[:len(values) // 4 * 4], "<u4"), zero


@given(tensors())
def test_what_is_encoded_is_decoded(tensor):
    words, zero = tensor
    for coded in (True, False, None):
        block = encode(words, zero, coded=coded)
        assert decode(block, zero).tolist() == words.tolist()
        assert coded is None or not len(words) or bool(block[0] & isa.CODED_FLAG) == coded
    assert len(encode(words, zero)) <= len(words) + 1


@given(st.lists(st.integers(0, 2 ** 32 - 1), max_size=12), st.integers(0, 40), st.booleans())
def test_noise_is_decoded_or_refused(words, count, coded):
    block = np.array([count | coded << 31, *words], "<u4")
    try:
        assert len(decode(block, 3)) == count
    except RunLengthError as error:
        assert str(error)


def test_examples():
    """The examples of docs/run-length-coding.md, byte for byte."""
    def words(*values):
        return np.array(values, np.int8).view("<u4")

    flag = isa.CODED_FLAG
    assert encode(words(5, 0, 0, 7), 0).tolist() == [1, 0x07000005]
    assert encode(words(5, 0, 0, 7, 0, 0, 0, 1), 0, coded=True).tolist() == [
        flag | 2, 0x01070589]
    assert encode(words(*[-128] * 24, 9, -128, -128, -128), -128).tolist() == [
        flag | 7, 0x09010200]
    assert encode(words(), 0).tolist() == [0]


@pytest.mark.parametrize(("block", "message"), [
    ([], "must have a header"),
    ([1 << 25], "no reserved bits, not 0x02000000"),
    ([2, 1], "must have 2 words, not 1"),
    ([isa.CODED_FLAG | 2], "ends after 0 of 8 values"),
    ([isa.CODED_FLAG | 2, 0x030201FF], "ends after 0 of 8 values"),
    ([isa.CODED_FLAG | 1, 0x00000100], "Run must end with the block"),
    ([isa.CODED_FLAG | 1, 0x00000110], "no bits behind the end"),
    ([isa.CODED_FLAG | 1, 0x00010000], "zeros up to the word"),
    ([isa.CODED_FLAG | 1, 0, 0], "zeros up to the word"),
])
def test_malformed(block, message):
    with pytest.raises(RunLengthError, match=message):
        decode(np.array(block, "<u4"), 0)


def test_too_long():
    with pytest.raises(RunLengthError, match="must have fewer than 16777216 words"):
        encode(np.broadcast_to(np.uint32(0), (1 << 24,)), 0)


def test_real_activations():
    """What docs/run-length-coding.md says of the five networks."""
    shares = {}
    for path in models():
        network = load(path)
        tensor = network.tensors[network.input]
        x = real_inputs(path.stem)
        if x is None:
            # No pictures are at hand: blocks of a colour.
            rng = np.random.default_rng(1)
            blocks = rng.integers(-128, 128, (8, 8, tensor.shape[3]))
            x = np.kron(blocks, np.ones((tensor.shape[1] // 8, tensor.shape[2] // 8, 1)))[None]
        x = x.reshape(-1, *tensor.shape[1:])[:1].astype(np.int8)
        values = evaluate(network, x)
        raw = coded = 0
        for layer in network.layers:
            if layer.op in ("softmax", "reshape") or values[layer.output].dtype != np.int8:
                continue
            data = values[layer.output].ravel()
            zero = network.tensors[layer.output].zero_point
            words = np.pad(data, (0, -len(data) % 4), constant_values=zero).view("<u4")
            block = encode(words, zero)
            assert decode(block, zero).tolist() == words.tolist()
            raw, coded = raw + len(words), coded + len(block)
        shares[path.stem] = coded / raw
    assert {name: round(share, 2) for name, share in shares.items()} == {
        "ad01_int8": 0.81, "kws_ref_model": 0.59, "pretrainedResnet_quant": 0.75,
        "str_ww_ref_model": 0.6, "vww_96_int8": 0.66}
