"""Lines to masked lines: what differs from call to call of one log statement becomes a mark. Pure.

The rules are applied in one pass over the bytes, by a compiled kernel; docs/logs.md lists them with their reasons.
A masked line is bytes: one space between tokens, none at the ends, no control characters but `MASK`.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from plumbline_common.compiling import kernel

MASK = b"\x01"
"""Stands for one masked value. Control characters of a line count as spaces, so no line holds it."""

LONGEST = 8192
"""Bytes of a line that are looked at; what comes after them is cut off."""

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

_MASK = 1
_SPACE, _QUOTE, _PERCENT, _PLUS, _COMMA, _MINUS, _DOT, _SLASH, _COLON, _SEMICOLON, _LESS, _EQUALS, _MORE = (
    b' "%+,-./:;<=>'
)
_BACKSLASH, _UNDERSCORE, _TILDE = b"\\_~"

# What a byte is. Letters and digits make runs; bytes beyond ASCII count as letters.
_OTHER, _LETTER, _DIGIT, _BLANK = 0, 1, 2, 3
_KIND = np.zeros(256, np.uint8)
_KIND[:33] = _BLANK
_KIND[127] = _BLANK
_KIND[128:] = _LETTER
_KIND[ord("0") : ord("9") + 1] = _DIGIT
_KIND[ord("A") : ord("Z") + 1] = _LETTER
_KIND[ord("a") : ord("z") + 1] = _LETTER


def _among(characters: str) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[np.frombuffer(characters.encode(), np.uint8)] = True
    return table


_IS_HEX = _among("0123456789abcdefABCDEF")
_IS_JOINER = _among("-_.:/+@,%#|~*^&;")
_IN_PATH = _among("_.+~@%-/=") | (_KIND == _LETTER) | (_KIND == _DIGIT)
_ENDS_URL = _among("\"'<>()[]{}`") | (_KIND == _BLANK)
_ENDS_SENTENCE = _among(".,;:!?")
_BEFORE_PATH = _among("\"'=([{<:,;|`>!")


def _words(text: str) -> Offsets:
    """Words of up to eight bytes as numbers, sorted: base 256, the first byte the highest."""
    return np.array(sorted(int.from_bytes(word.encode()) for word in text.split()), np.int64)


_MONTHS = _words("Jan Feb Mar Apr May Jun Jul Aug Sep Sept Oct Nov Dec")
_DAYS = _words("Mon Tue Wed Thu Fri Sat Sun")
_ZONES = _words("UTC GMT WET WEST CET CEST EET EEST MSK BST IST PST PDT MST MDT CST CDT EST EDT JST KST AEST AEDT")
_UNITS = _words(
    "B KB MB GB TB PB kB KiB MiB GiB TiB PiB ns us µs ms s sec secs msec msecs usec usecs min mins Hz kHz KHz MHz GHz"
)
_LITERALS = _words("true false null none nil nan")
_LONGEST_WORD = 5
"""Bytes of the longest word of these lists."""
_SHORTEST_HASH = 8
"""Bytes of a run of hexadecimal digits that is an id even where it begins with letters."""
_SHORTEST_PART = 4
"""Likewise where it goes on an id after a hyphen, as in a UUID."""


@kernel()
def _is_word(buffer: Bytes, start: int, stop: int, words: Offsets, fold: bool) -> bool:
    """Whether buffer[start:stop] is among the words, with `fold` whatever the case of its letters."""
    if stop - start > _LONGEST_WORD or stop <= start:
        return False
    number = 0
    for at in range(start, stop):
        byte = buffer[at]
        if fold and 65 <= byte <= 90:
            byte += 32
        number = number * 256 + byte
    for word in words:  # noqa: SIM110 - the compiler knows no generators
        if word == number:
            return True
    return False


@kernel()
def _is_hexadecimal(buffer: Bytes, start: int, stop: int) -> bool:
    for at in range(start, stop):  # noqa: SIM110 - likewise
        if not _IS_HEX[buffer[at]]:
            return False
    return True


@kernel()
def _is_alphanumeric(byte: int) -> bool:
    return bool(_KIND[byte] == _LETTER or _KIND[byte] == _DIGIT)


@kernel()
def _begins_word(out: Bytes, first: int, at: int) -> bool:
    """Whether nothing, or a space, stands before out[at]."""
    return at == first or out[at - 1] == _SPACE


@kernel()
def _without_sentence_end(buffer: Bytes, least: int, end: int) -> int:
    """`end` moved before the punctuation that ends a sentence, not before `least`."""
    while end > least and _ENDS_SENTENCE[buffer[end - 1]]:
        end -= 1
    return end


# Each `…_end` says where a value that begins at `at` ends, -1 where there is none.


@kernel()
def _address_end(buffer: Bytes, at: int, stop: int) -> int:
    """An IPv6 or MAC address, or a time: groups of up to four hexadecimal digits, two colons or more, a digit."""
    colons, group, digits = 0, 0, False
    while at < stop:
        byte = buffer[at]
        if byte == _COLON:
            if at + 1 >= stop or not (_IS_HEX[buffer[at + 1]] or buffer[at + 1] == _COLON):
                break
            colons += 1
            group = 0
        elif _IS_HEX[byte]:
            group += 1
            if group > 4:
                return -1
            digits = digits or _KIND[byte] == _DIGIT
        else:
            break
        at += 1
    if colons < 2 or not digits or (at < stop and (_KIND[buffer[at]] == _LETTER or buffer[at] == _UNDERSCORE)):
        return -1
    return at


@kernel()
def _day_end(buffer: Bytes, at: int, run: int, stop: int) -> int:
    """A month's name, which ends at `run`, with the day after it: "Jun  7"."""
    if not _is_word(buffer, at, run, _MONTHS, False):
        return -1
    day = run
    while day < stop and buffer[day] == _SPACE and day - run < 2:
        day += 1
    if day in (run, stop) or _KIND[buffer[day]] != _DIGIT:
        return -1
    while day < stop and _is_alphanumeric(buffer[day]):
        day += 1
    return day


@kernel()
def _without_weekday(out: Bytes, first: int, end: int) -> int:
    """`end` moved before a weekday's name that ends there: "Sat " and "Sat, "."""
    day = end - 1
    if day > first and out[day] == _SPACE:
        if out[day - 1] == _COMMA:
            day -= 1
        if day - 3 >= first and _is_word(out, day - 3, day, _DAYS, False):
            before = day - 3
            if before == first or not (_is_alphanumeric(out[before - 1]) or out[before - 1] == _MASK):
                return before
    return end


@kernel()
def _drive_end(buffer: Bytes, run: int, stop: int) -> int:
    """A path such as "C:\\logs\\a.txt", of which the letter ends at `run`."""
    if run + 2 >= stop or buffer[run] != _COLON or buffer[run + 1] != _BACKSLASH or _KIND[buffer[run + 2]] != _LETTER:
        return -1
    end = run + 2
    while end < stop and not _ENDS_URL[buffer[end]]:
        end += 1
    return _without_sentence_end(buffer, run + 2, end)


@kernel()
def _path_end(buffer: Bytes, at: int, stop: int, least: int) -> int:
    """A path with so many slashes at least; `at` is at its first one."""
    slashes, end = 0, at
    while end < stop and _IN_PATH[buffer[end]]:
        slashes += buffer[end] == _SLASH
        end += 1
    end = _without_sentence_end(buffer, at + 1, end)
    return end if slashes >= least and end > at + 1 else -1


@kernel()
def _url_end(buffer: Bytes, at: int, stop: int) -> int:
    """What follows the scheme of a URL; `at` is at its colon."""
    if at + 3 >= stop or buffer[at + 1] != _SLASH or buffer[at + 2] != _SLASH:
        return -1
    end = at + 3
    while end < stop and not _ENDS_URL[buffer[end]]:
        end += 1
    end = _without_sentence_end(buffer, at + 3, end)
    return end if end > at + 3 else -1


@kernel()
def _quoted_end(buffer: Bytes, at: int, stop: int) -> int:
    """A value in double quotes; `at` is at the first of them."""
    end = at + 1
    while end < stop and buffer[end] != _QUOTE:
        end += 1
    return end + 1 if end < stop else -1


@kernel()
def _unit_end(buffer: Bytes, at: int, stop: int) -> int:
    """Where a number that ends at `at` ends with its unit or zone, if any: "12 KB", "95%", "10:15:00 UTC"."""
    if at < stop and buffer[at] == _PERCENT:
        return at + 1
    if at + 1 < stop and buffer[at] == _SPACE:
        end = at + 1
        while end < stop and _KIND[buffer[end]] == _LETTER:
            end += 1
        if end < stop and (_KIND[buffer[end]] == _DIGIT or buffer[end] == _UNDERSCORE):
            return at
        if _is_word(buffer, at + 1, end, _UNITS, False) or _is_word(buffer, at + 1, end, _ZONES, False):
            return end
    return at


@kernel()
def _put(out: Bytes, first: int, end: int, closed: bool) -> int:
    """Put a mask after out[first:end], one for a run of them, and return the new end.

    A sign before the mask belongs to it, and so does a comparison unless `closed`: "<5", but not "<5>".
    """
    if end > first:
        byte = out[end - 1]
        if byte in (_MINUS, _PLUS):
            if end - 1 == first or not _is_alphanumeric(out[end - 2]):
                end -= 1
        elif byte in (_LESS, _MORE, _TILDE) and not closed and _begins_word(out, first, end - 1):
            end -= 1
    at = end - 1
    if at >= first and out[at] == _SPACE:
        at -= 1
        if at >= first and (out[at] == _COMMA or out[at] == _SEMICOLON):
            at -= 1
    else:
        while at >= first and _IS_JOINER[out[at]]:
            at -= 1
    if at >= first and out[at] == _MASK:
        return at + 1
    out[end] = _MASK
    return end + 1


@kernel()
def _mask_line(buffer: Bytes, start: int, stop: int, out: Bytes) -> int:
    """Mask buffer[start:stop] into out[start:…] and return where that ends. One pass, O(stop - start)."""
    first = start
    end = first
    at = start
    while at < stop:
        byte = buffer[at]
        what = _KIND[byte]
        if what == _BLANK:
            if not _begins_word(out, first, end):
                out[end] = _SPACE
                end += 1
            at += 1
            continue
        mask_to = -1
        kept = at  # what stands between `at` and `kept` is kept before the mask
        if what != _OTHER:
            run, digit = at, -1
            while run < stop:
                what = _KIND[buffer[run]]
                if what == _DIGIT:
                    if digit < 0:
                        digit = run
                elif what != _LETTER:
                    break
                run += 1
            if run < stop and buffer[run] == _COLON and run - at <= 4:
                mask_to = _address_end(buffer, at, stop)
                if mask_to < 0 and run - at == 1:
                    mask_to = _drive_end(buffer, run, stop)
            goes_on = end - 2 >= first and out[end - 1] == _MINUS and out[end - 2] == _MASK
            if (
                mask_to < 0
                and run - at >= (_SHORTEST_PART if goes_on else _SHORTEST_HASH)
                and ((digit >= 0 or goes_on) and _is_hexadecimal(buffer, at, run))
            ):
                mask_to = run
            elif mask_to < 0 and digit >= 0:
                mask_to = run
                kept = digit
            elif mask_to < 0 and run - at <= _LONGEST_WORD:
                if end > first and out[end - 1] == _EQUALS:
                    if (run == stop or buffer[run] != _UNDERSCORE) and _is_word(buffer, at, run, _LITERALS, True):
                        mask_to = run
                elif byte < 97 and run < stop and buffer[run] == _SPACE:
                    mask_to = _day_end(buffer, at, run, stop)
                    if mask_to >= 0:
                        end = _without_weekday(out, first, end)
            if mask_to < 0:
                kept = run
        elif byte == _SLASH:
            dots = end
            while dots > first and (out[dots - 1] == _DOT or out[dots - 1] == _TILDE):
                dots -= 1
            if _begins_word(out, first, dots) or _BEFORE_PATH[out[dots - 1]]:
                mask_to = _path_end(buffer, at, stop, 1 if dots < end else 2)
                if mask_to >= 0:
                    end = dots
        elif byte == _COLON and end > first and _KIND[out[end - 1]] == _LETTER:
            mask_to = _url_end(buffer, at, stop)
            if mask_to >= 0:
                kept = at + 3
        elif byte == _QUOTE and end > first and out[end - 1] == _EQUALS:
            mask_to = _quoted_end(buffer, at, stop)
        if mask_to < 0:
            kept = max(kept, at + 1)
        for place in range(at, kept):
            out[end] = buffer[place]
            end += 1
        if mask_to < 0:
            at = kept
            continue
        at = _unit_end(buffer, mask_to, stop)
        end = _put(out, first, end, at < stop and buffer[at] == _MORE)
    if end > first and out[end - 1] == _SPACE:
        end -= 1
    return end


@kernel()
def _mask_lines(buffer: Bytes, offsets: Offsets, out: Bytes, ends: Offsets) -> None:
    for line in range(len(ends)):
        ends[line] = _mask_line(buffer, offsets[line], offsets[line + 1], out)


@kernel()
def _distinct(out: Bytes, starts: Offsets, ends: Offsets, longest: int, first: Offsets, which: Offsets) -> int:
    """Number the different lines in their order: `first` is where each comes first, `which` what each line is.

    Returns how many there are. A table with open addressing, by FNV-1a; lines of one hash are compared.
    """
    size = 16
    while size < 2 * len(starts):
        size *= 2
    table = np.full(size, -1, np.int64)
    number = 0
    for line in range(len(starts)):
        start, end = starts[line], ends[line]
        if end - start > longest:
            first[number] = line
            which[line] = number
            number += 1
            continue
        value = np.uint64(14695981039346656037)
        for at in range(start, end):
            value = (value ^ np.uint64(out[at])) * np.uint64(1099511628211)
        slot = np.int64((value ^ (value >> np.uint64(32))) & np.uint64(size - 1))
        while table[slot] >= 0:
            other = first[table[slot]]
            begin = starts[other]
            if ends[other] - begin == end - start:
                same = True
                for at in range(end - start):
                    if out[begin + at] != out[start + at]:
                        same = False
                        break
                if same:
                    break
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = number
            first[number] = line
            number += 1
        which[line] = table[slot]
    return number


def cut(line: str | bytes) -> bytes:
    """The bytes of a line that are looked at; characters that UTF-8 cannot hold become question marks."""
    if isinstance(line, str):
        # No character is shorter than a byte: what is cut off here would not be looked at anyway.
        line = line[:LONGEST].encode("utf-8", "replace")
    return line[:LONGEST]


def mask(lines: Sequence[str | bytes]) -> list[bytes]:
    """The masked lines, one for each line and never longer than it. O(bytes); never raises for any content."""
    out, starts, ends = _masked(lines)
    masked = out.tobytes()
    return [masked[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def mask_distinct(lines: Sequence[str | bytes], longest: int) -> tuple[list[bytes], list[int], Offsets]:
    """The different masked lines in their order, where each comes first, and which of them each line is.

    Masked lines of more than `longest` bytes are not compared: each is a different one.
    """
    out, starts, ends = _masked(lines)
    first = np.empty(len(lines), np.int64)
    which = np.empty(len(lines), np.int64)
    first = first[: _distinct(out, starts, ends, longest, first, which)]
    return (
        [out[start:end].tobytes() for start, end in zip(starts[first].tolist(), ends[first].tolist(), strict=True)],
        first.tolist(),
        which,
    )


def _masked(lines: Sequence[str | bytes]) -> tuple[Bytes, Offsets, Offsets]:
    joined, lengths = _joined(lines)
    offsets = np.zeros(len(lines) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    out = np.empty(len(joined), np.uint8)
    ends = np.empty(len(lines), np.int64)
    _mask_lines(np.frombuffer(joined, np.uint8), offsets, out, ends)
    return out, offsets[:-1], ends


def _joined(lines: Sequence[str | bytes]) -> tuple[bytes, Offsets]:
    """The bytes of all lines, one after the other, and how many each line has."""
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    if len(lines) and lengths.max() <= LONGEST:
        # All of them bytes, or plain ASCII, is the rule, and joining first is then three times as fast.
        with contextlib.suppress(TypeError):
            return b"".join(lines), lengths  # type: ignore[arg-type]
        with contextlib.suppress(TypeError, UnicodeEncodeError):
            return "".join(lines).encode("ascii"), lengths  # type: ignore[arg-type]
    raw = [cut(line) for line in lines]
    return b"".join(raw), np.fromiter(map(len, raw), np.int64, len(raw))
