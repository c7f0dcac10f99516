import Glibc
import Kernels
import TestSupport
import Testing

@Suite struct BLASTests {
  private func product(
    _ blas: BLAS, _ weights: Weights, _ format: FloatFormat, _ x: [Float], tokens: Int, stride: Int, threads: Int
  ) -> [Float] {
    var y = [Float](repeating: 7, count: tokens * stride)
    let shifted: [UInt8] = [0] + weights.codes
    let bytes = shifted.rawBytes.extracting(1...)
    let numbers = x.span
    var out = y.mutableSpan
    blas.multiply(
      bytes, as: format, rows: weights.rows, columns: weights.columns, x: numbers, tokens: tokens, into: &out,
      rowOffset: 1, stride: stride, kernels: KernelSet.best, threads: threads)
    return y
  }

  @Test("products agree with binary64", arguments: FloatFormat.allCases)
  func agrees(format: FloatFormat) throws {
    let blas = try BLAS.load()
    for (rows, columns, tokens) in [(1, 1, 1), (5, 33, 3), (130, 2048, 40), (300, 1000, 64)] {
      let weights = Weights(rows: rows, columns: columns, format: .float(format), seed: 1)
      let x = activations(count: tokens * columns, seed: 2)
      let exact = weights.exact(x, xStride: columns, tokens: tokens)
      for threads in [1, 2] {
        let y = product(blas, weights, format, x, tokens: tokens, stride: rows + 2, threads: threads)
        // Whatever the order of the sum: one rounding for each column.
        let gamma = Double(columns + 1) * 0x1p-24
        for t in 0..<tokens {
          #expect(y[t * (rows + 2)] == 7 && y[t * (rows + 2) + rows + 1] == 7)
          let wrong = (0..<rows).count { r in
            let error = abs(Double(y[t * (rows + 2) + 1 + r]) - exact.y[t * rows + r])
            return !(error <= gamma * exact.magnitude[t * rows + r])
          }
          #expect(wrong == 0)
        }
      }
    }
  }

  @Test("the kernels fit the processor")
  func core() throws {
    let blas = try BLAS.load()
    if unsafe getenv("OPENBLAS_CORETYPE").map({ unsafe String(cString: $0) }) == "SkylakeX" {
      #expect(["SkylakeX", "Cooperlake", "SapphireRapids"].contains(blas.coreName))
    }
  }

  @Test("a library that is not there is an error")
  func missing() {
    #expect {
      _ = try BLAS(library: "libno-such-blas.so.0")
    } throws: { error in
      guard case BLASError.notFound(let reason) = error else { return false }
      return reason.contains("libno-such-blas")
    }
    #expect(throws: BLASError.incomplete(symbol: "cblas_sgemm")) { try BLAS(library: "libm.so.6") }
    #expect(throws: BLASError.incomplete(symbol: "scipy_cblas_sgemm")) {
      try BLAS(library: "libopenblas.so.0", prefix: "scipy_")
    }
  }

  @Test("a Cholesky factor gives its matrix back")
  func cholesky() throws {
    let blas = try BLAS.load()
    let n = 40
    let x = activations(count: n * n, seed: 3)
    var a = [Float](repeating: 0, count: n * n)
    for i in 0..<n {
      for j in 0..<n {
        a[i * n + j] = (0..<n).reduce(i == j ? 10 : 0) { $0 + x[i * n + $1] * x[j * n + $1] }
      }
    }
    var l = a
    #expect(factor(blas, &l, n) == nil)
    for i in 0..<n {
      for j in 0...i {
        let sum = (0...j).reduce(Float(0)) { $0 + l[i * n + $1] * l[j * n + $1] }
        #expect(abs(sum - a[i * n + j]) <= 1e-3 * abs(a[i * n + i] + a[j * n + j]))
      }
    }
    a[3 * n + 3] = -1
    #expect(factor(blas, &a, n) == 4)
  }

  private func factor(_ blas: BLAS, _ a: inout [Float], _ n: Int) -> Int? {
    var span = a.mutableSpan
    return blas.cholesky(&span, n: n)
  }
}
