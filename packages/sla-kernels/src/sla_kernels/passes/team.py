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
from sla_kernels.runtime.team import entry

GRAIN = 512  # tokens that are worked on at a time
_TEAM = "sla_kernels_team"  # what is compiled, and kept, knows the team by this name
_WORD, _NUMBER = ir.IntType(32), ir.IntType(64)

llvmlite.binding.add_symbol(_TEAM, entry())


@no_type_check
def shared(work):
    """Compile `work(number, *given)` into a function that calls it for all numbers below a count.

    That is called with the count, how many threads take part, and what is given; who is free takes
    the next number. What is kept cannot hold functions as values, so there is one for each `work`.
    """
    done = body(work)

    @intrinsic
    def on_team(context, count, threads, given):
        def made(kind, builder, signature, arguments):
            return _shared(done, kind, builder, signature, arguments)

        return types.boolean(count, threads, given), made

    @part
    def all_done(count, threads, given):
        if on_team(np.int64(count), np.int64(threads), given):
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
    head, run = divmod(number, -(-count // step))
    return head, run * step, min((run + 1) * step, count)


@no_type_check
def _shared(work, kind, builder, signature, arguments):
    """Do it on as many threads as have something to do; whether it failed on one of them."""
    count, threads, given = arguments
    next_one, failed = (cgutils.alloca_once_value(builder, _NUMBER(0)) for _ in range(2))
    held = cgutils.pack_struct(builder, (next_one, failed, count, given))
    place = cgutils.alloca_once_value(builder, held)
    member = _member(work, kind, builder.module, signature.args[2], held.type)
    room = builder.bitcast(place, cgutils.voidptr_t)
    with builder.if_else(_both_reach(builder, count, threads)) as (several, one):
        with several:
            team = ir.FunctionType(ir.VoidType(), [member.type, room.type, _WORD, _WORD])
            run = cgutils.get_or_insert_function(builder.module, team, _TEAM)
            most = builder.select(builder.icmp_signed("<", count, threads), count, threads)
            builder.call(run, [member, room, builder.trunc(most, _WORD), _WORD(0)])
        with one:
            builder.call(member, [room])
    return builder.icmp_signed("!=", builder.load(failed), _NUMBER(0))


@no_type_check
def _both_reach(builder, count, threads):
    reach = (builder.icmp_signed(">", number, _NUMBER(1)) for number in (count, threads))
    return builder.and_(*reach)


@no_type_check
def _member(work, kind, module, given, held):
    """What each thread runs: it takes numbers while there are, and leaves a mark where it fails."""
    called = types.Dispatcher(work).get_call_type(kind.typing_context, (types.int64, *given), {})
    compiled = work.get_compile_result(called)
    kind.active_code_library.add_linking_library(compiled.library)
    name = module.get_unique_name("member")
    member = ir.Function(module, ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t]), name)
    member.linkage = "internal"
    start, take, do, done = (member.append_basic_block() for _ in range(4))
    builder = ir.IRBuilder(start)
    found = builder.load(builder.bitcast(member.args[0], held.as_pointer()))
    next_one, failed, count, packed = cgutils.unpack_tuple(builder, found)
    parts = cgutils.unpack_tuple(builder, packed)
    builder.branch(take)
    builder.position_at_end(take)
    number = builder.atomic_rmw("add", next_one, _NUMBER(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", number, count), do, done)
    builder.position_at_end(do)
    arguments = [number, *parts]
    status, _ = kind.call_internal_no_propagate(builder, compiled.fndesc, called, arguments)
    with builder.if_then(status.is_error):
        builder.store(_NUMBER(1), failed)
    builder.branch(take)
    ir.IRBuilder(done).ret_void()
    return member
