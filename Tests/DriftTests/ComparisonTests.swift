import Drift
import Glibc
import Kernels
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct ComparisonTests {
  private func softmax(_ probabilities: [Double], kernels: KernelSet = .best) -> LogSoftmax {
    LogSoftmax(probabilities.map { Float(log($0)) }[...], kernels: kernels)
  }

  /// p = (½, ¼, ⅛, ⅛) and q = (¼, ½, ⅛, ⅛): KL = ½ ln 2 − ¼ ln 2.
  @Test(arguments: KernelSet.available) func byHand(kernels: KernelSet) {
    let p = softmax([0.5, 0.25, 0.125, 0.125], kernels: kernels)
    let q = softmax([0.25, 0.5, 0.125, 0.125], kernels: kernels)
    let row = ReferenceRow(p, truth: 2, mask: 3)
    let comparison = Comparison(row, q, truth: 2, mask: 3)
    #expect(abs(comparison.kl - 0.25 * log(2.0)) < 1e-6)
    #expect(abs(p.divergence(to: q) - 0.25 * log(2.0)) < 1e-6)
    #expect(!comparison.sameTop)
    #expect(abs(comparison.reference - 0.5) < 1e-6 && abs(comparison.candidate - 0.25) < 1e-6)
    #expect(abs(comparison.candidateBest - 0.5) < 1e-6)
    #expect(abs(comparison.referenceLoss - logf(8)) < 1e-6 && abs(comparison.candidateLoss - logf(8)) < 1e-6)
  }

  @Test func sameIsExactlyZero() {
    var random = SeededRandom(seed: 1)
    for whole in [4, 1 << 20] {
      let logits = (0..<1000).map { _ in 4 * random.normal() }
      let row = LogSoftmax(logits[...], kernels: .best)
      let comparison = Comparison(
        ReferenceRow(row, truth: 7, mask: 9, whole: whole), row, truth: 7, mask: 9)
      #expect(comparison.kl == 0 && comparison.sameTop && comparison.candidate == comparison.reference)
      #expect(comparison.candidateLoss == comparison.referenceLoss)
    }
  }

  /// Two models whose logits differ in their last bits: to second order KL is half the variance of the differences.
  @Test(arguments: KernelSet.available, [1000, 6000]) func closeCandidatesAreTold(kernels: KernelSet, count: Int) {
    var random = SeededRandom(seed: 11)
    let a = (0..<count).map { _ in 3 * random.normal() }
    let b = a.map { $0 + 1e-4 * random.normal() }
    let (p, q) = (LogSoftmax(a[...], kernels: kernels), LogSoftmax(b[...], kernels: kernels))
    let weights = a.map { exp(Double($0)) }
    let total = weights.reduce(0, +)
    let moments = zip(weights, zip(a, b)).reduce((0.0, 0.0)) { sums, next in
      let (weight, difference) = (next.0 / total, Double(next.1.1) - Double(next.1.0))
      return (sums.0 + weight * difference, sums.1 + weight * difference * difference)
    }
    let expected = (moments.1 - moments.0 * moments.0) / 2
    #expect(expected > 1e-10 && expected < 1e-8)
    #expect(abs(p.divergence(to: q) / expected - 1) < 1e-3)
    let kl = Comparison(ReferenceRow(p, truth: 7, mask: 9), q, truth: 7, mask: 9).kl
    // Of a large vocabulary only the most probable tokens count, and the rest as one.
    #expect(count <= ReferenceRow.wholeVocabulary ? abs(kl / expected - 1) < 1e-3 : kl > 0 && kl < expected * 1.001)
  }

  @Test func theMaskIsNeverTheBest() {
    let row = softmax([0.1, 0.2, 0.6, 0.1])
    #expect(row.best(excluding: 2) == 1)
    #expect(row.best(excluding: 0) == 2)
    #expect(softmax([0.4, 0.4, 0.2]).best(excluding: 0) == 1)
    #expect(softmax([0.2, 0.4, 0.4]).best(excluding: 0) == 1, "of equals the lowest id")
  }

  @Test func largestAreInOrder() {
    let row = LogSoftmax([1, 5, 3, 5, 2, 4][...], kernels: .best)
    #expect(row.largest(4) == [1, 3, 5, 2])
    #expect(row.largest(10) == [1, 3, 5, 2, 4, 0])
  }

  /// The rest of the vocabulary as one outcome: a lower bound, and far below only where the rest is what moved.
  @Test func fewerTokensGiveALowerBound() {
    var random = SeededRandom(seed: 5)
    let a = (0..<3000).map { _ in 3 * random.normal() }
    let b = a.map { $0 + 0.3 * random.normal() }
    let (p, q) = (LogSoftmax(a[...], kernels: .best), LogSoftmax(b[...], kernels: .best))
    let whole = Comparison(ReferenceRow(p, truth: 0, mask: 1), q, truth: 0, mask: 1).kl
    let some = Comparison(ReferenceRow(p, truth: 0, mask: 1, whole: 0), q, truth: 0, mask: 1).kl
    #expect(some <= whole && some > 0.5 * whole)
    #expect(abs(whole - p.divergence(to: q)) < 1e-6)
  }

  struct Golden: Sendable {
    let model: String
    let kl: Double
    let top256: Double
    let reference: Double
    let candidate: Double
    let sameTop: Double
  }

  /// The golden logits against themselves with 0.2 · ((7i + 13j) mod 11 − 5) added to row i, column j. The numbers were
  /// computed with numpy in binary64.
  @Test(
    arguments: [
      Golden(
        model: "pico", kl: 0.08696973791408776, top256: 0.08542925467090653, reference: 16.12250092484919,
        candidate: 16.37864579699774, sameTop: 0.85),
      Golden(
        model: "nano", kl: 0.11522956479057686, top256: 0.11507630665468245, reference: 15.87951460199856,
        candidate: 16.055876506739576, sameTop: 0.75),
    ].filter { Trained.models.contains($0.model) })
  func asNumpy(_ golden: Golden) throws {
    let file = try SafetensorsFile(path: Trained.golden(golden.model, "forward-1-block32.safetensors"))
    let logits = floats(try bytes(file, "logits"), as: .f32)
    let ids = try bytes(file, "input_ids")
    let rows = ids.count / 4
    let width = logits.count / rows
    var (kl, some, reference, candidate, same) = (Sample(), Sample(), Sample(), Sample(), Sample())
    for row in 0..<rows {
      let truth = (0..<4).reduce(0) { $0 | Int(ids[4 * row + $1]) << (8 * $1) }
      let a = logits[row * width..<(row + 1) * width]
      var b = Array(a)
      for column in b.indices {
        let step = (row * 7 + column * 13) % 11 - 5
        b[column] += 0.02 * Float(step) * 10
      }
      let (p, q) = (LogSoftmax(a, kernels: .best), LogSoftmax(b[...], kernels: .best))
      let comparison = Comparison(ReferenceRow(p, truth: truth, mask: -1), q, truth: truth, mask: -1)
      kl.add(comparison.kl, cluster: row)
      reference.add(Double(comparison.referenceLoss), cluster: row)
      candidate.add(Double(comparison.candidateLoss), cluster: row)
      same.add(comparison.sameTop ? 1 : 0, cluster: row)
      let few = ReferenceRow(p, truth: truth, mask: -1, whole: 0)
      some.add(Comparison(few, q, truth: truth, mask: -1).kl, cluster: row)
    }
    #expect(abs((kl.mean ?? 0) - golden.kl) < 1e-6)
    #expect(abs((some.mean ?? 0) - golden.top256) < 1e-6)
    #expect(abs((reference.mean ?? 0) - golden.reference) < 1e-6)
    #expect(abs((candidate.mean ?? 0) - golden.candidate) < 1e-6)
    #expect(same.mean == golden.sameTop)
  }

  private func bytes(_ file: SafetensorsFile, _ name: String) throws -> [UInt8] {
    let entry = try #require(file.tensors.first { $0.name == name })
    let mapping = file.file
    let all = mapping.bytes
    return all.extracting(entry.byteRange).array
  }
}
