# SPDX-License-Identifier: GPL-2.0
"""The diffstat of a mail, as git format-patch prints it: 72 columns, and the files that are created."""

WIDTH = 72
LEAST = 6       # columns of the graph


def text(edits):
    """The diffstat of @edits, {path: FileDiff}."""
    counts = {path: tuple(sum(line[0] == sign for hunk in diff.hunks for line in hunk.lines) for sign in "+-")
              for path, diff in edits.items()}
    most = max(sum(count) for count in counts.values())
    digits = len(str(most))
    names, graph = widths(max(map(len, counts)), digits, most)
    lines = [f" {shortened(path, names):<{names}} | {sum(count):>{digits}} {bar(*count, graph, most)}".rstrip() + "\n"
             for path, count in counts.items()]
    return "".join([*lines, total(counts.values()),
                    *(f" create mode {diff.new_mode} {path}\n" for path, diff in edits.items() if diff.new_mode)])


def widths(names, digits, most):
    """Columns of the names and of the graph, if the longest name has @names and the largest change is @most."""
    rest, graph = WIDTH - digits - 6, most
    if names + graph > rest:
        graph = min(graph, max(WIDTH * 3 // 8 - digits - 6, LEAST))
        if names > rest - graph:
            names = rest - graph
        else:
            graph = rest - names
    return names, graph


def shortened(path, width):
    if len(path) <= width:
        return path
    end = path[len(path) - width + 3:]
    return "..." + end[max(end.find("/"), 0):]


def bar(added, removed, width, most):
    """Plus and minus signs, of which @most changed lines take the whole @width."""
    if width <= most:
        both = scaled(added + removed, width, most)
        if both < 2 and added and removed:
            both = 2
        if added < removed:
            added = scaled(added, width, most)
            removed = both - added
        else:
            removed = scaled(removed, width, most)
            added = both - removed
    return "+" * added + "-" * removed


def scaled(number, width, most):
    return 1 + number * (width - 1) // most if number else 0


def total(counts):
    added, removed = (sum(column) for column in zip(*counts))
    words = [f"{len(counts)} file{'s' * (len(counts) != 1)} changed"]
    if added or not removed:
        words.append(f"{added} insertion{'s' * (added != 1)}(+)")
    if removed or not added:
        words.append(f"{removed} deletion{'s' * (removed != 1)}(-)")
    return f" {', '.join(words)}\n"
