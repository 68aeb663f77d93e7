"""Whatever a network is made of: its counts are those of a closed form, or the row says in words that they are not.

A hundred networks of a grammar here; `--hypothesis-profile=full` tries thousands.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.own_network import own_spec
from tests.probes.random_networks import Example, networks
from tests.probes.test_field_networks import rows, saved_on_the_cpu


@pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:Using padding='same' with even kernel")
@settings(
    max_examples=max(100, settings().max_examples),
    phases=[Phase.explicit, Phase.generate],  # a smaller example takes minutes to find: add Phase.shrink for it
    suppress_health_check=list(HealthCheck),
)
@given(networks())
def test_the_counts_of_any_network_are_right_or_marked(example: Example) -> None:
    spec = own_spec(example.build, example.input_size)
    found = rows(spec, "params", "macs", "saved_activation_bytes")
    params, macs, saved = (found[metric] for metric in ("params", "macs", "saved_activation_bytes"))
    if "unsized" in example.marks:
        assert {row.status for row in found.values()} == {"skipped"}
        assert all("no pass finds out their sizes" in row.note for row in found.values())
        return
    assert (params.status, params.value) == ("ok", example.params), params.note
    assert macs.status == "ok", macs.note
    assert (macs.value, found["flops"].value) == (example.macs, 2 * example.macs), macs.note
    assert macs.flags == found["flops"].flags == (("lower_bound",) if "uncounted" in example.marks else ())
    if example.ambiguous:
        assert "can be logits" in saved.note
    else:
        assert saved.status == "ok", saved.note
        assert saved.value == saved_on_the_cpu(spec)
