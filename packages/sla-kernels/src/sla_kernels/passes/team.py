"""Work shared by the threads of PyTorch, with no Python on the way, see `sla_kernels.runtime.team`.

A region of the team costs about a microsecond here, so that little is enough to be shared.
"""

from typing import no_type_check

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sla_kernels.passes.scalar import body, part
from sla_kernels.runtime.team import entries

GRAIN = 512  # tokens that are worked on at a time
MOST = 64  # threads
_NAMES = "sla_kernels_team", "sla_kernels_member"  # by which what is compiled, and kept, knows them
_WORD, _NUMBER = ir.IntType(32), ir.IntType(64)
_LINE = 8  # numbers in a line of a cache: what threads count in lies in lines of their own

for _name, _entry in zip(_NAMES, entries(), strict=True):
    llvmlite.binding.add_symbol(_name, _entry)


@no_type_check
def shared(work):
    """Compile `work(number, *given)` into a function that calls it for all numbers below a count.

    That is called with the count, how many threads take part, and what is given. Each thread takes
    numbers of a range of its own, then what is left of others': who did a range in one pass finds
    it in its cache in the next. What is kept cannot hold functions as values, so there is one for
    each `work`.
    """
    done = body(work)

    @intrinsic
    def on_team(context, count, threads, given):
        def made(kind, builder, signature, arguments):
            return _shared(done, kind, builder, signature, arguments)

        return types.boolean(count, threads, given), made

    @part
    def all_done(count, threads, given):
        if on_team(np.int64(count), np.int64(max(1, min(count, threads, MOST))), given):
            raise MemoryError  # nothing else fails in passes

    return all_done


@part
@no_type_check
def runs_of(count, each):
    """In how many runs so many things are cut, of about `GRAIN` tokens; a thing has `each`."""
    return -(-count // max(1, GRAIN // each))


@part
@no_type_check
def run_of(number, count, each):
    """The head of a run, counted through all heads, and its first thing and that behind it."""
    step = max(1, GRAIN // each)
    head, run = divmod(number, runs_of(count, each))
    return head, run * step, min((run + 1) * step, count)


@intrinsic
@no_type_check
def member(context, threads):
    """Which of so many threads this is."""

    def made(_, builder, __, arguments):
        return builder.urem(_own_number(builder), arguments[0])

    return types.int64(types.int64), made


@no_type_check
def _own_number(builder):
    kind = ir.FunctionType(_WORD, [])
    number = cgutils.get_or_insert_function(builder.module, kind, _NAMES[1])
    return builder.zext(builder.call(number, []), _NUMBER)


@no_type_check
def _shared(work, kind, builder, signature, arguments):
    """Do it on so many threads; whether it failed on one of them."""
    failed = cgutils.alloca_once_value(builder, _NUMBER(0))
    taken = cgutils.alloca_once_value(builder, ir.ArrayType(_NUMBER, MOST * _LINE)(None))
    held = cgutils.pack_struct(builder, (taken, failed, *arguments))
    place = cgutils.alloca_once_value(builder, held)
    member = _member(work, kind, builder.module, signature.args[2], held.type)
    room, threads = builder.bitcast(place, cgutils.voidptr_t), builder.trunc(arguments[1], _WORD)
    with builder.if_else(builder.icmp_signed(">", threads, _WORD(1))) as (several, one):
        with several:
            team = ir.FunctionType(ir.VoidType(), [member.type, room.type, _WORD, _WORD])
            run = cgutils.get_or_insert_function(builder.module, team, _NAMES[0])
            builder.call(run, [member, room, threads, _WORD(0)])
        with one:
            builder.call(member, [room])
    return builder.icmp_signed("!=", builder.load(failed), _NUMBER(0))


@no_type_check
def _member(work, kind, module, given, held):
    """What each thread runs: it takes numbers while there are, and leaves a mark where it fails."""
    called = types.Dispatcher(work).get_call_type(kind.typing_context, (types.int64, *given), {})
    compiled = work.get_compile_result(called)
    kind.active_code_library.add_linking_library(compiled.library)
    kinds = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
    member = ir.Function(module, kinds, module.get_unique_name("member"))
    member.linkage = "internal"
    builder = ir.IRBuilder(member.append_basic_block())
    found = builder.load(builder.bitcast(member.args[0], held.as_pointer()))
    taken, failed, count, threads, packed = cgutils.unpack_tuple(builder, found)
    parts = cgutils.unpack_tuple(builder, packed)

    def do(number):
        status, _ = kind.call_internal_no_propagate(
            builder, compiled.fndesc, called, [number, *parts]
        )
        with builder.if_then(status.is_error):
            builder.store(_NUMBER(1), failed)

    _take_all(builder, taken, count, threads, do)
    builder.ret_void()
    return member


@no_type_check
def _take_all(builder, taken, count, threads, do):
    """Take numbers of one's own range, then of the ranges of the threads behind, in turn."""
    own = _own_number(builder)
    with cgutils.for_range(builder, threads) as turn:
        whose = builder.urem(builder.add(own, turn.index), threads)
        ends = (builder.mul(count, builder.add(whose, _NUMBER(i))) for i in (0, 1))
        first, behind = (builder.udiv(end, threads) for end in ends)
        line = builder.mul(whose, _NUMBER(_LINE))
        place = builder.gep(taken, [_NUMBER(0), line])
        take, done = (builder.append_basic_block() for _ in range(2))
        builder.branch(take)
        builder.position_at_end(take)
        after = builder.atomic_rmw("add", place, _NUMBER(1), "monotonic")
        now = builder.add(first, after)
        with builder.if_then(builder.icmp_signed("<", now, behind)):
            do(now)
            builder.branch(take)
        builder.branch(done)
        builder.position_at_end(done)
