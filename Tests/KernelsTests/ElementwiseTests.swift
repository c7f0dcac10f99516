import Glibc
import Kernels
import Synchronization
import TestSupport
import Testing

@Suite struct ElementwiseTests {
  private func exp(_ x: [Float], _ kernels: KernelSet) -> [Float] {
    var y = x
    var span = y.mutableSpan
    kernels.exp(&span)
    return y
  }

  private var isLong: Bool { unsafe getenv("LONG_TESTS") != nil }

  /// The largest error of `exp` in units of the last place of the result, over every `step`-th float of a magnitude below
  /// 104. The bound is the measured maximum of all floats.
  private func worstError(_ kernels: KernelSet, step: Int) -> Double {
    var worst = 0.0
    let end = Int(Float(104).bitPattern)
    for start in stride(from: 0, through: end, by: 4096 * step) {
      let part = stride(from: start, to: min(start + 4096 * step, end), by: step)
      let x = part.flatMap { [Float(bitPattern: UInt32($0)), -Float(bitPattern: UInt32($0))] }
      for (x, y) in zip(x, exp(x, kernels)) where y.isFinite {
        let exact = Glibc.exp(Double(x))
        let unit = max(Double(Float(exact).ulp), 0x1p-149)
        worst = max(worst, abs(Double(y) - exact) / unit)
      }
    }
    return worst
  }

  @Test("the exponential is within 1 ulp", arguments: KernelSet.available)
  func exponential(kernels: KernelSet) {
    let worst = worstError(kernels, step: isLong ? 1 : 4093)
    #expect(worst < 1, "\(worst)")
    print("exp, \(kernels): \(worst) ulp")
  }

  @Test("the exponential at its ends", arguments: KernelSet.available)
  func exponentialEnds(kernels: KernelSet) {
    let y = exp([.infinity, -.infinity, .nan, 88.8, 1000, -104, -1000, 0, -0.0, .greatestFiniteMagnitude], kernels)
    #expect(y[0] == .infinity && y[1] == 0 && y[2].isNaN && y[3] == .infinity && y[4] == .infinity)
    #expect(y[5] == 0 && y[6] == 0 && y[7] == 1 && y[8] == 1 && y[9] == .infinity)
    #expect(exp([88.7], kernels)[0].isFinite)
    #expect(exp([-103], kernels)[0] == 0x1p-149)
  }

  @Test("silu agrees with binary64", arguments: KernelSet.available)
  func silu(kernels: KernelSet) {
    for count in [0, 1, 7, 8, 15, 16, 33, 512] {
      var g = activations(count: count, seed: 1)
      let original = g
      let u = activations(count: count, seed: 2)
      apply(kernels, &g, u)
      for i in 0..<count {
        let sigmoid = 1 / (1 + Glibc.exp(-Double(original[i])))
        // An ulp of the exponential, and half an ulp each of sum, quotient and product.
        let exact = Double(original[i]) * sigmoid * Double(u[i])
        #expect(abs(Double(g[i]) - exact) <= 5 * 0x1p-24 * abs(exact) + 0x1p-126)
      }
    }
  }

  private func apply(_ kernels: KernelSet, _ g: inout [Float], _ u: [Float]) {
    let other = u.span
    var span = g.mutableSpan
    kernels.siluMultiply(&span, other)
  }

  @Test("silu at its ends", arguments: KernelSet.available)
  func siluEnds(kernels: KernelSet) {
    var g: [Float] = [0, -0.0, 200, -200, .infinity, .nan]
    apply(kernels, &g, [1, 1, 1, 1, 1, 1])
    #expect(g[0] == 0 && g[1] == 0 && g[2] == 200 && abs(g[3]) < 1e-30 && g[4] == .infinity && g[5].isNaN)
  }

  @Test("scores are found wherever they stand", arguments: KernelSet.available)
  func scores(kernels: KernelSet) {
    func check(_ x: [Float]) {
      let found = kernels.scores(x.span)
      let sorted = x.sorted(by: >)
      #expect(found.largest == sorted[0] && found.first == x.firstIndex(of: sorted[0]))
      #expect(found.second == (x.count > 1 ? sorted[1] : -.infinity))
      let exact = x.reduce(0.0) { $0 + Glibc.exp(Double($1) - Double(sorted[0])) }
      #expect(abs(found.sum - exact) <= 0x1p-18 * exact)  // sums of 64 and 1 ulp of each term
    }
    for count in [1, 2, 15, 16, 17, 31, 100, 1024, 1025, 3000] {
      let x = activations(count: count, seed: UInt64(count))
      check(x)
      check(Array(repeating: -3, count: count))
      for place in stride(from: 0, to: count, by: max(1, count / 37)) {
        var changed = x
        changed[place] = 50
        check(changed)
        changed[(place * 7 + 3) % count] = 50  // the same once more, or the same place
        check(changed)
        changed[(place * 5 + 1) % count] = 49
        check(changed)
      }
    }
  }

  private func softmax(_ x: [Float], _ kernels: KernelSet) -> [Float] {
    var y = x
    var span = y.mutableSpan
    kernels.softmax(&span)
    return y
  }

  @Test("softmax agrees with binary64 and keeps masked numbers at zero", arguments: KernelSet.available)
  func softmax(kernels: KernelSet) {
    for count in [1, 2, 7, 8, 9, 16, 17, 31, 100, 1000] {
      var x = activations(count: count, seed: 3)
      for i in x.indices where i % 3 == 1 { x[i] = -.infinity }
      let y = softmax(x, kernels)
      let most = Double(x.max() ?? 0)
      let terms = x.map { Glibc.exp(Double($0) - most) }
      let total = terms.reduce(0, +)
      for (index, (found, term)) in zip(y, terms).enumerated() {
        // x − m is rounded (an error relative to its magnitude), an ulp of the exponential, the sum, two roundings.
        let relative = (abs(Double(x[index]) - most) + Double(count / 8 + 10)) * 0x1p-24
        #expect(term == 0 ? found == 0 : abs(Double(found) - term / total) <= relative * term / total + 0x1p-126)
      }
    }
  }

  @Test("softmax without a finite maximum is NaN", arguments: KernelSet.available)
  func softmaxEnds(kernels: KernelSet) {
    for count in [1, 5, 16, 20, 40] {
      for place in 0..<count {
        for bad: Float in [.nan, .infinity] {
          var x = [Float](repeating: 1, count: count)
          x[place] = bad
          #expect(softmax(x, kernels)[place].isNaN)
        }
      }
      #expect(softmax([Float](repeating: -.infinity, count: count), kernels).allSatisfy { $0.isNaN })
      #expect(softmax([Float](repeating: 1000, count: count), kernels).allSatisfy { $0 == 1 / Float(count) })
    }
  }
}

@Suite struct ParallelTests {
  @Test("every index is in exactly one part")
  func rows() {
    for count in [0, 1, 2, 23, 24, 25, 47, 100, 1000] {
      for threads in [1, 2, 3, 8] {
        for (minimum, multiple) in [(1, 1), (10, 1), (1, 24), (30, 24)] {
          var seen = [Float](repeating: 0, count: count)
          mark(&seen, threads: threads, minimum: minimum)
          #expect(seen.allSatisfy { $0 == 1 })
          let parts = Parts()
          Parallel.rows(count: count, threads: threads, minimum: minimum, multiple: multiple) { parts.add($0) }
          let ranges = parts.sorted
          #expect(ranges.reduce(0) { $0 + $1.count } == count)
          #expect(ranges.count <= threads)
          var next = 0
          for range in ranges {
            #expect(range.lowerBound == next && !range.isEmpty)
            #expect(range.upperBound == count || range.upperBound % multiple == 0)
            next = range.upperBound
          }
        }
      }
    }
  }

  private func mark(_ seen: inout [Float], threads: Int, minimum: Int) {
    var span = seen.mutableSpan
    Parallel.pieces(of: &span, length: 1, threads: threads, minimum: minimum) { _, piece in piece[0] += 1 }
  }

  @Test("regions within regions come to an end")
  func nested() {
    for _ in 0..<100 {
      let parts = Parts()
      Parallel.rows(count: 4, threads: 4) { outer in
        for _ in outer { Parallel.rows(count: 4, threads: 4) { parts.add($0) } }
      }
      #expect(parts.sorted.reduce(0) { $0 + $1.count } == 16)
    }
  }

  @Test("regions of several threads at once come to an end")
  func concurrent() async {
    await withTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var total = 0
          for _ in 0..<200 {
            let parts = Parts()
            Parallel.rows(count: 10, threads: 3) { parts.add($0) }
            total += parts.sorted.reduce(0) { $0 + $1.count }
          }
          return total
        }
      }
      for await total in group { #expect(total == 2000) }
    }
  }
}

/// Ranges that several threads report.
private final class Parts: Sendable {
  private let ranges = Mutex<[Range<Int>]>([])

  func add(_ range: Range<Int>) { ranges.withLock { $0.append(range) } }

  var sorted: [Range<Int>] { ranges.withLock { $0.sorted { $0.lowerBound < $1.lowerBound } } }
}
