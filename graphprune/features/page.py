"""The page: one HTML file that loads nothing."""

from __future__ import annotations

import math
from html import escape
from importlib.metadata import version

import numpy as np

from graphprune.features.forms import Form, form_of, input_form
from graphprune.features.observe import NEGLIGIBLE
from graphprune.features.pictures import MOST_POINTS, Scale, bar, colour_map, line, photograph
from graphprune.features.ranking import importance_chart
from graphprune.features.result import Activation, Channel, Features, GroupFeatures, ShownInput
from graphprune.features.style import STYLE
from graphprune.importance.credibility import INDISTINCT, LEVEL
from graphprune.io.text import counted, few

# The page's pixels, a byte each before compression, are shared out among its maps.
_PIXELS = 3_000_000
_SIDES = (12, 128)
_SHOWN_INTEGERS = 24

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(features: Features) -> str:
    """The page as text."""
    # The input of each row counts for three: it has three colours.
    maps = sum(len(group.most) + len(group.least) + 3 for group in features.groups)
    side = math.isqrt(_PIXELS // max(1, maps * len(features.inputs)))
    side = min(max(side, _SIDES[0]), _SIDES[1])
    title = f"Features of {features.source}"
    body = [_head(features, side), _contents(features)]
    body += [
        _section(number, group, features, side) for number, group in enumerate(features.groups)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _head(features: Features, side: int) -> str:
    shown = len(features.groups)
    groups = counted(features.found, "channel group")
    some = f"{shown} of {groups}" if shown != features.found else groups
    notes = "".join(f"<li>{escape(note)}</li>" for note in features.notes)
    return (
        f"<p>Channels ranked by <code>{escape(features.method)}</code>; {some}, in graph order; "
        f"{counted(len(features.inputs), 'example')}.</p>\n"
        "<p>For each group: the activations of its most important channels on the left, of its "
        "least important ones on the right. All pictures of a group share one scale. Inputs are "
        "stretched from their least to their greatest value. What is larger than "
        f"{side} × {side}, or a row longer than {MOST_POINTS}, is averaged to that.</p>\n"
        + (f"<p>{escape(features.certainty)}.</p>\n" if features.certainty else "")
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + f'<p class="soft">graphprune {escape(version("graphprune"))}</p>'
    )


def _contents(features: Features) -> str:
    items = "".join(
        f'<li><a href="#group-{number}">{escape(group.name)}</a></li>'
        for number, group in enumerate(features.groups)
    )
    return f'<nav aria-label="Channel groups"><ul>{items}</ul></nav>'


def _section(number: int, group: GroupFeatures, features: Features, side: int) -> str:
    channels = [*group.most, *group.least]
    forms = {
        channel.number: [form_of(one, features.token_grid) for one in channel.activations]
        for channel in channels
    }
    every = [form for found in forms.values() for form in found]
    scale = Scale.of([form.values for form in every])
    words = "; or ".join(dict.fromkeys(form.words for form in every))
    rows = []
    for place, shown in enumerate(features.inputs):
        cells = [_input_cell(shown, side)]
        for channel in channels:
            if channel is next(iter(group.least), None):
                cells.append('<td class="gap"></td>')
            cells.append(_cell(channel, place, forms[channel.number][place], scale, side))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<section id="group-{number}">\n<h2>{escape(group.name)}</h2>\n{_about(group)}\n'
        f"<p>Each picture: {escape(words)}.</p>\n{_legend(scale, every)}\n"
        f"{importance_chart(group)}\n"
        f'<div class="scroll"><table>\n{_table_head(group)}\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>\n</section>"
    )


def _about(group: GroupFeatures) -> str:
    shape = " × ".join(map(str, group.shape))
    text = (
        f"{group.size} channels; activations behind <code>{escape(group.node)}</code> "
        f"({escape(group.op)}, {shape})"
    )
    if group.source:
        text += f", <code>{escape(group.source)}</code>"
    lines = [f'<p class="soft">{text}</p>']
    if group.here < group.size:
        lines.append(f"<p>{group.here} of the channels lie there and are ranked here.</p>")
    if group.others:
        names = escape(few(group.others, 8))
        lines.append(f'<p class="soft">Channels of the group come forth at {names} too.</p>')
    if group.readers:
        names = escape(few(group.readers, 8))
        lines.append(f'<p class="soft">Consumers read them from {names}.</p>')
    if group.separated is not None:
        verdict = f"{group.separated:.0%} of the pairs of a channel on the left and one on the "
        verdict += f"right have {LEVEL:.0%} intervals that do not overlap"
        if group.separated < INDISTINCT:
            verdict += ": this ranking cannot be told from chance"
        lines.append(f"<p>{verdict}.</p>")
    return "\n".join(lines)


def _legend(scale: Scale, forms: list[Form]) -> str:
    beyond = any(bool((np.abs(form.values) > scale.high).any()) for form in forms)
    note = "values beyond are drawn as the ends" if beyond else ""
    kinds = {form.kind for form in forms}
    ramp = scale.legend() if kinds & {"map", "strip"} else "to"
    return (
        f'<p class="legend">Scale: <span>{scale.low:.4g}</span>{ramp}'
        f'<span>{scale.high:.4g}</span><span class="soft">{note}</span></p>'
    )


def _table_head(group: GroupFeatures) -> str:
    cells = ['<th scope="col">input</th>']
    ends = [f'<th></th><th class="ends" colspan="{len(group.most)}">most important</th>']
    for number, channel in enumerate((*group.most, *group.least)):
        if number == len(group.most):
            cells.append('<th class="gap"></th>')
            ends.append('<th class="gap"></th>')
        bounds = ""
        if channel.interval is not None:
            bounds = f"<span>{channel.interval[0]:.3g} to {channel.interval[1]:.3g}</span>"
        cells.append(
            f'<th scope="col">channel {channel.number}<span>rank {channel.rank}</span>'
            f"<span>importance {channel.importance:.3g}</span>{bounds}</th>"
        )
    if group.least:
        ends.append(f'<th class="ends" colspan="{len(group.least)}">least important</th>')
    return f"<thead><tr>{''.join(ends)}</tr>\n<tr>{''.join(cells)}</tr></thead>"


def _cell(channel: Channel, place: int, form: Form, scale: Scale, side: int) -> str:
    values = form.values
    if form.kind == "nothing":
        return "<td><b>no values for this input</b></td>"
    state = _state(channel.activations[place], form, scale)
    label = f"channel {channel.number}: "
    seen = values[np.isfinite(values)]
    label += state or f"from {seen.min():.3g} to {seen.max():.3g}, mean {seen.mean():.3g}"
    if form.kind == "number":
        picture = bar(float(values), scale, label) + f"{float(values):.3g}"
    elif form.kind == "line":
        picture = line(values, scale, label)
    else:
        kind = f' class="{form.kind}"'
        uri = colour_map(
            np.atleast_2d(values), scale, MOST_POINTS if form.kind == "strip" else side
        )
        picture = f'<img{kind} alt="{escape(label)}" src="{uri}">'
    return f"<td>{picture}" + (f"<b>{escape(state)}</b>" if state else "") + "</td>"


def _state(activation: Activation, form: Form, scale: Scale) -> str:
    """What must be said of an activation beside its picture, "" if nothing."""
    values = activation.values
    if not np.isfinite(values).all():
        return "not finite"
    small = NEGLIGIBLE * scale.high
    if float(np.abs(values).max(initial=0)) <= small:
        return "zero everywhere"
    flat = form.kind != "number" and float(np.ptp(values)) <= small
    words = [f"flat at {float(values.reshape(-1)[0]):.3g}"] if flat else []
    return ", ".join([*words, *(["zero where it is read"] if activation.unread else [])])


def _input_cell(shown: ShownInput, side: int) -> str:
    name = shown.name + (f", class {shown.label}" if shown.label is not None else "")
    form, values = input_form(shown.values), shown.values
    if form is None:
        size = " × ".join(map(str, values.shape)) or "one"
        picture = f"{size} values"
        if values.dtype.kind in "iub" and values.size:
            few = ", ".join(map(str, values.reshape(-1)[:_SHOWN_INTEGERS].tolist()))
            picture += f": {few}" + (" …" if values.size > _SHOWN_INTEGERS else "")
        picture = escape(picture)
    elif form.kind == "line":
        picture = line(form.values, Scale.of([form.values]), f"{name}: {form.words}")
    else:
        alt = escape(f"{name}: {form.words}")
        picture = f'<img alt="{alt}" src="{photograph(form.values, side)}">'
    more = f" (first of {shown.inputs} inputs)" if shown.inputs > 1 else ""
    return f'<th scope="row">{picture}<span>{escape(name + more)}</span></th>'
