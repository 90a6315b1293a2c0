"""What every kernel here stands on: eight numbers at once, and the memory of a NumPy array.

Belongs here: loads, stores, transposition, exact division. Keep out: indicators.

Freestanding on purpose: scalars, SIMD, pointers and stack arrays alone need no runtime library.
`alloc`, `List`, `print` and `raise` do, and the link then fails.
"""

from std.math import fma
from std.sys.intrinsics import PrefetchOptions, llvm_intrinsic, prefetch

comptime Numbers = Pointer[Float64, MutAnyOrigin]
comptime Instants = Pointer[Int64, MutAnyOrigin]
comptime Bytes = Pointer[Int8, MutAnyOrigin]

# A PyArrayObject, seen as words: the reference count, the type, the data, the number of
# dimensions, the shape, the strides, the base, the type of the elements, the flags. Before anything
# else the loader compares what `address`, `size` and `is_plain` read there with NumPy's answers.
comptime Array64 = Pointer[Numbers, MutAnyOrigin]

comptime FLOAT64: Int8 = 100  # NumPy's letters for types: d, l, b
comptime INT64: Int8 = 108
comptime INT8: Int8 = 98

comptime LANES = 8
comptime Lanes = SIMD[DType.float64, LANES]
comptime Flags = SIMD[DType.bool, LANES]
comptime MANY = 2_000_000  # bars that no cache keeps: what is written goes past the caches
comptime NAN: Float64 = Float64(0.0) / Float64(0.0)


@always_inline
def data(array: Array64) -> Numbers:
    return array[unsafe_offset=2]


@always_inline
def instants(array: Array64) -> Instants:
    return data(array).unsafe_bitcast[Int64]()


@always_inline
def bytes(array: Array64) -> Bytes:
    return data(array).unsafe_bitcast[Int8]()


@always_inline
def size(array: Array64, axis: Int = 0) -> Int:
    return array[unsafe_offset=4].unsafe_bitcast[Int]()[unsafe_offset=axis]


@always_inline
def is_plain(array: Array64, letter: Int8) -> Bool:
    """Say whether `array` is contiguous, in C order, of that type."""
    var own = array[unsafe_offset=7].unsafe_bitcast[Int8]()[unsafe_offset=25]
    var flags = array.unsafe_bitcast[Int32]()[unsafe_offset=16]
    return own == letter and flags & 1 == 1


@always_inline
def are_plain(*arrays: Array64) -> Bool:
    """Say whether each of them is a contiguous array of float64."""
    for i in range(len(arrays)):
        if not is_plain(arrays[i], FLOAT64):
            return False
    return True


@always_inline
def load(p: Numbers, row: Int) -> Lanes:
    return p.unsafe_offset(row * LANES).unsafe_load[width=LANES]()


@always_inline
def store(p: Numbers, row: Int, value: Lanes):
    p.unsafe_offset(row * LANES).unsafe_store(value)


@always_inline
def stream(p: Numbers, row: Int, value: Lanes):
    """Store past the caches; `p` is aligned to 64 bytes. Whoever streams ends with `fence`."""
    p.unsafe_offset(row * LANES).unsafe_store[alignment=64, non_temporal=True](value)


@always_inline
def is_on_line(*lines: Numbers) -> Bool:
    """Say whether each begins on a cache line."""
    var bits = 0
    for i in range(len(lines)):
        bits |= Int(lines[i])
    return bits & 63 == 0


@always_inline
def up_to_line(line: Numbers, count: Int) -> Int:
    """Return after how many of `count` bars the last cache line begins; `count` if none does."""
    var over = (Int(line.unsafe_offset(count)) >> 3) & (LANES - 1)
    return count - over if over < count else count


@always_inline
def write[is_streamed: Bool](line: Numbers, i: Int, value: Lanes):
    """Store eight bars, past the caches where they are a cache line and that is wanted."""
    comptime if is_streamed:
        line.unsafe_offset(i).unsafe_store[alignment=64, non_temporal=True](value)
    else:
        line.unsafe_offset(i).unsafe_store(value)


@always_inline
def fence():
    llvm_intrinsic["llvm.x86.sse.sfence", NoneType]()


@always_inline
def fetch(p: Numbers):
    prefetch[PrefetchOptions().for_read().high_locality().to_data_cache()](p)


@always_inline
def is_finite(x: Lanes) -> Flags:
    return (x - x).eq(Lanes(0.0))


@always_inline
def is_nan(x: Lanes) -> Flags:
    return ~x.eq(x)  # `ne` is False beside a NaN


@always_inline
def divided(x: Lanes, divisor: Lanes, inverse: Lanes) -> Lanes:
    """Return `x / divisor`, rounded as division rounds, where `inverse` is `1 / divisor`.

    Markstein's two steps: a third of a division's time (3 against 10 cycles for four lanes).
    """
    var near = x * inverse
    return fma(fma(-near, divisor, x), inverse, near)


@always_inline
def transposed[is_streamed: Bool](src: Numbers, step: Int, dst: Numbers, stride: Int):
    """Write four rows of four, read `step` apart, as columns `stride` apart."""
    var a = src.unsafe_load[width=4]()
    var b = src.unsafe_offset(step).unsafe_load[width=4]()
    var c = src.unsafe_offset(2 * step).unsafe_load[width=4]()
    var d = src.unsafe_offset(3 * step).unsafe_load[width=4]()
    var ab = a.shuffle[0, 4, 2, 6](b)
    var ba = a.shuffle[1, 5, 3, 7](b)
    var cd = c.shuffle[0, 4, 2, 6](d)
    var dc = c.shuffle[1, 5, 3, 7](d)
    _four[is_streamed](dst, ab.shuffle[0, 1, 4, 5](cd))
    _four[is_streamed](dst.unsafe_offset(stride), ba.shuffle[0, 1, 4, 5](dc))
    _four[is_streamed](dst.unsafe_offset(2 * stride), ab.shuffle[2, 3, 6, 7](cd))
    _four[is_streamed](dst.unsafe_offset(3 * stride), ba.shuffle[2, 3, 6, 7](dc))


@always_inline
def _four[is_streamed: Bool](p: Numbers, value: SIMD[DType.float64, 4]):
    comptime if is_streamed:
        p.unsafe_store[alignment=32, non_temporal=True](value)
    else:
        p.unsafe_store(value)
