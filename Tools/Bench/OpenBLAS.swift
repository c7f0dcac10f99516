import Glibc
import Kernels

/// OpenBLAS, where the system has it: what products of full precision are held against. Ingot itself does not use it.
@safe struct OpenBLAS {
  struct Missing: Error, CustomStringConvertible {
    let description: String
  }

  private typealias SGEMM =
    @convention(c) (
      Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>, Int32, Float,
      UnsafeMutablePointer<Float>, Int32
    ) -> Void
  private let sgemm: SGEMM

  /// The variables that it reads when it is loaded must be set while the program has one thread. Debian's 0.3.21 has kernels of
  /// 2004 for processors that it does not know.
  static func prepare() {
    unsafe setenv("OPENBLAS_NUM_THREADS", "1", 1)
    let cores = ["avx512": "SkylakeX", "avx2": "Haswell"]
    if let core = cores[KernelSet.available[0].name] { unsafe setenv("OPENBLAS_CORETYPE", core, 0) }
  }

  init() throws(Missing) {
    guard let handle = unsafe dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL),
      let address = unsafe dlsym(handle, "cblas_sgemm")
    else {
      throw Missing(description: "OpenBLAS is not there; Debian has it as libopenblas0-pthread")
    }
    unsafe sgemm = unsafeBitCast(address, to: SGEMM.self)
  }

  /// y = x · Wᵀ, rows of W shared out to threads.
  ///
  /// - Parameters:
  ///   - weights: (rows, columns).
  ///   - x: (tokens, columns).
  ///   - y: (tokens, rows).
  func multiply(
    _ weights: [Float], rows: Int, columns: Int, x: [Float], tokens: Int, into y: inout [Float], threads: Int
  ) {
    let (rowMajor, plain, transposed) = (Int32(101), Int32(111), Int32(112))
    let share = (rows + threads - 1) / threads
    unsafe weights.withUnsafeBufferPointer { weights in
      unsafe x.withUnsafeBufferPointer { x in
        unsafe y.withUnsafeMutableBufferPointer { y in
          nonisolated(unsafe) let (w, x, y) = unsafe (weights.baseAddress!, x.baseAddress!, y.baseAddress!)
          perform(threads, threads: threads) { [self] part in
            let first = min(rows, part * share)
            let count = min(rows, first + share) - first
            guard count > 0 else { return }
            unsafe sgemm(
              rowMajor, plain, transposed, Int32(tokens), Int32(count), Int32(columns), 1, x, Int32(columns),
              w + first * columns, Int32(columns), 0, y + first, Int32(rows))
          }
        }
      }
    }
  }
}
