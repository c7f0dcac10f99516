import COpenBLAS
import Glibc
import Synchronization

/// Why OpenBLAS cannot be used.
package enum BLASError: Error, Equatable {
  /// The library is not there or cannot be loaded; the loader's words.
  case notFound(reason: String)
  /// The library lacks a function.
  case incomplete(symbol: String)
  /// The system has no memory for its buffers.
  case noMemory
}

/// OpenBLAS, loaded when it is first asked for.
///
/// Debian's 0.3.21 uses kernels of 2004 on processors that it does not know (five times slower where it was measured), so
/// its core type is chosen here, by what the processor can do; `OPENBLAS_CORETYPE` of the user comes first. The variable
/// must be set before the library is loaded, which rules out linking with it, and before other threads read the environment:
/// ``prepare()``. Where the system has none, that of the Python package `scipy-openblas32` serves, if it was installed beside the
/// binary as `pip` does. It runs with one thread, whatever the
/// environment says, because the callers have their own, and it ends the process where it is refused a thread.
@safe package struct BLAS: @unchecked Sendable {
  /// The name of the kernels it chose, such as `SkylakeX`.
  package let coreName: String

  // Functions of a library that is never unloaded.
  private let sgemm: UnsafeMutableRawPointer
  private let spotrf: UnsafeMutableRawPointer
  private let buffers: (allocate: UnsafeMutableRawPointer, free: UnsafeMutableRawPointer)?

  /// Sets the variables that the library reads when it is loaded. A program calls this before it has other threads, as nothing
  /// guards the environment; loading, which takes tens of milliseconds, may then come at any time.
  package static func prepare() { _ = prepared }

  private static let prepared: Void = {
    unsafe setenv("OPENBLAS_NUM_THREADS", "1", 1)
    if let core = wantedCore { unsafe setenv("OPENBLAS_CORETYPE", core, 0) }
  }()

  /// Loads the library at the first call.
  package static func load() throws(BLASError) -> BLAS { try loaded.get() }

  private static let loaded: Result<BLAS, BLASError> = {
    do throws(BLASError) {
      do throws(BLASError) { return .success(try BLAS(library: "libopenblas.so.0")) } catch {
        guard case .notFound = error, let path = pythonLibrary else { throw error }
        return .success(try BLAS(library: path, prefix: "scipy_"))
      }
    } catch { return .failure(error) }
  }()

  /// The path of `scipy-openblas32`'s library in the Python environment whose `bin` holds this program.
  private static var pythonLibrary: String? {
    guard let program = unsafe realpath("/proc/self/exe", nil) else { return nil }
    defer { unsafe Glibc.free(program) }
    let directory = unsafe String(cString: program).split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
    let literal = directory.map { "\\*?[".contains($0) ? "\\\($0)" : "\($0)" }.joined()
    var found = unsafe glob_t()
    defer { unsafe globfree(&found) }
    let pattern = literal + "/lib*/python3*/*-packages/scipy_openblas32/lib/libscipy_openblas.so"
    guard unsafe glob(pattern, 0, nil, &found) == 0, let path = unsafe found.gl_pathv[0] else { return nil }
    return unsafe String(cString: path)
  }

  /// - Parameter prefix: what stands before the names of its functions.
  package init(library: String, prefix: String = "") throws(BLASError) {
    Self.prepare()
    guard let handle = unsafe dlopen(library, RTLD_NOW | RTLD_LOCAL) else {
      throw .notFound(reason: unsafe dlerror().map { unsafe String(cString: $0) } ?? "")
    }
    unsafe sgemm = try Self.symbol(prefix + "cblas_sgemm", in: handle)
    unsafe spotrf = try Self.symbol(prefix + "spotrf_", in: handle)
    // Some builds of the library hide them.
    if let allocate = unsafe dlsym(handle, "blas_memory_alloc"), let free = unsafe dlsym(handle, "blas_memory_free") {
      unsafe buffers = (allocate, free)
    } else {
      unsafe buffers = nil
    }
    unsafe openblas_set_threads(try Self.symbol(prefix + "openblas_set_num_threads", in: handle), 1)
    unsafe coreName = String(cString: openblas_core(try Self.symbol(prefix + "openblas_get_corename", in: handle)))
  }

  /// Address space of a caller's buffer, and something over.
  private static let bufferByteCount = 144 << 20
  /// How many may call at once; none from the first failure on.
  private static let callers = Mutex<Int?>(0)

  /// Sees to buffers for calls from so many threads at once. The library itself would ask for them until it gets them. Where it
  /// hides how it allocates, it is only made sure that there is room for them now.
  package func reserve(callers count: Int) throws(BLASError) {
    let isReserved = Self.callers.withLock { callers in
      guard let before = callers, before < count else { return callers != nil }
      callers = nil
      let byteCount = (count - before) * Self.bufferByteCount
      let trial = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard unsafe trial != MAP_FAILED else { return false }
      unsafe munmap(trial, byteCount)
      // All that are taken at once, since those that are free are given again.
      if let buffers = unsafe buffers { unsafe openblas_take_buffers(buffers.allocate, buffers.free, count) }
      callers = count
      return true
    }
    guard isReserved else { throw .noMemory }
  }

  private static var wantedCore: String? {
    switch KernelSet.available[0].name {
    case "avx512": "SkylakeX"
    case "avx2": "Haswell"
    default: nil
    }
  }

  private static func symbol(
    _ name: String, in handle: UnsafeMutableRawPointer
  ) throws(BLASError) -> UnsafeMutableRawPointer {
    guard let address = unsafe dlsym(handle, name) else { throw .incomplete(symbol: name) }
    return unsafe address
  }

  /// What `KernelSet.multiply` computes, for plain weights: `y[t · stride + rowOffset + r] = Σ w[r, k] · x[t · columns + k]`.
  /// Weights are widened block by block into a scratch buffer of 1 MiB for each thread. Worth it from about 64 tokens on.
  ///
  /// - Parameters:
  ///   - weights: `rows` rows of `format`, at any alignment.
  ///   - x: (tokens, columns).
  ///   - y: (tokens, stride), of which rowOffset ..< rowOffset + rows is overwritten.
  ///   - kernels: widen the weights.
  @_lifetime(y: copy y)
  package func multiply(
    _ weights: RawSpan, as format: FloatFormat, rows: Int, columns: Int, x: Span<Float>, tokens: Int,
    into y: inout MutableSpan<Float>, rowOffset: Int = 0, stride: Int, kernels: KernelSet, threads: Int = 1
  ) {
    precondition(rows >= 0 && columns > 0 && tokens >= 0 && rowOffset >= 0 && rowOffset + rows <= stride)
    precondition(max(columns, tokens, stride) <= Int(Int32.max))
    precondition(weights.byteCount == rows * columns * format.byteCount && x.count >= tokens * columns)
    guard rows > 0 && tokens > 0 else { return }
    precondition(y.count >= (tokens - 1) * stride + rowOffset + rows)
    let height = max(1, (1 << 18) / columns)  // rows of one block
    unsafe weights.withUnsafeBytes { weights in
      unsafe x.withUnsafeBufferPointer { x in
        unsafe y.withUnsafeMutableBufferPointer { y in
          let from = unsafe Shared((weights.baseAddress!, x.baseAddress!, y.baseAddress! + rowOffset))
          Parallel.rows(count: rows, threads: threads, minimum: 64) { range in
            let (weights, x, y) = unsafe from.value
            unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: height * columns) { block in
              for row in Swift.stride(from: range.lowerBound, to: range.upperBound, by: height) {
                let count = min(height, range.upperBound - row)
                unsafe kernels.widen(
                  weights + row * columns * format.byteCount, format, count: count * columns, to: block.baseAddress!)
                unsafe openblas_multiply_transposed(
                  sgemm, Int32(tokens), Int32(count), Int32(columns), x, Int32(columns), block.baseAddress!,
                  Int32(columns), y + row, Int32(stride))
              }
            }
          }
        }
      }
    }
  }

  /// Replaces a symmetric positive definite matrix by the factor L of L · Lᵀ, in the lower triangle; the upper one is left
  /// as it was.
  ///
  /// - Parameter a: (n, n) in row order; only the lower triangle is read.
  /// - Returns: nil, or the 1-based order of the first leading minor that is not positive.
  @_lifetime(a: copy a)
  package func cholesky(_ a: inout MutableSpan<Float>, n: Int) -> Int? {
    precondition(n > 0 && n <= Int(Int32.max) && a.count == n * n)
    let info = unsafe a.withUnsafeMutableBufferPointer { a in
      // Lower in row order is upper in column order.
      unsafe openblas_cholesky(spotrf, CChar(UInt8(ascii: "U")), Int32(n), a.baseAddress!, Int32(n))
    }
    return info == 0 ? nil : Int(info)
  }
}
