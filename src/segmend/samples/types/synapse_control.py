"""`synapse_control`: the two partners of a synapse, at its cleft."""

from __future__ import annotations

from segmend.core.box import picometres
from segmend.core.ids import id_strings
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, segment_facts, site_hash, xyz
from segmend.samples.view import pose
from segmend.synthetic.history import Synapse

KIND = "synapse_control"


def candidates(context: SampleContext) -> CandidateSet:
    """One candidate for every synapse whose partners are segments of two neurons."""
    return candidate_set(KIND, (_candidate(context, s) for s in context.synapses))


def _fault(context: SampleContext, synapse: Synapse) -> str | None:
    pair = (synapse.pre_segment, synapse.post_segment)
    if any(segment not in context.overlaps for segment in pair):
        return "segment absent"
    if not context.grid.box.contains_point(synapse.center_nm):
        return "cleft outside the volume"
    if pair[0] == pair[1]:
        return "one segment on both sides"
    pre, post = (context.overlaps[segment] for segment in pair)
    fault = context.rules.size.pair_fault(pre, post)
    if fault is None and pre.dominant == post.dominant:
        return "same neuron"
    if fault is None and (pre.dominant, post.dominant) != (
        synapse.pre_neuron,
        synapse.post_neuron,
    ):
        return "segment belongs to a neuron that is not the partner"
    return fault


def _candidate(context: SampleContext, synapse: Synapse) -> Candidate | str:
    fault = _fault(context, synapse)
    if fault is not None:
        return fault
    pair = (synapse.pre_segment, synapse.post_segment)
    pre_id, post_id = id_strings(pair)
    facts = {
        **segment_facts(*(context.overlaps[segment] for segment in pair)),
        "strategy": "synapse_pair",
        "pre_pt_root_id": pre_id,
        "post_pt_root_id": post_id,
        "synapse_ctr_pt_nm": xyz(synapse.center_nm),
        "cleft_id": str(synapse.cleft_id),
        **context.controls.synapse_facts.get(synapse.cleft_id, {}),
    }
    at = (synapse.cleft_id, *pair, *picometres(synapse.center_nm))
    site = Site(
        kind=KIND,
        operation_id=site_hash(context.identity, "synapse", *at),
        anchor_nm=synapse.center_nm,
        segments=pair,
        cluster_id=synapse.pre_neuron,
        neurons=(synapse.pre_neuron, synapse.post_neuron),
        facts=facts,
    )
    return pose(context, site)
