import Glibc
import Kernels
import Models
import Pack
import Tensors

/// How far the elements y of one tensor are from those of another, x.
package struct ElementDifference: Sendable, Equatable {
  /// Σ (x − y)², Σ x² and Σ y².
  package private(set) var squaredError = 0.0
  package private(set) var squaredWeight = 0.0
  package private(set) var squaredOther = 0.0
  package private(set) var maximumError: Float = 0
  /// Elements that differ and of which one is infinite or NaN; left out of the others.
  package private(set) var nonFiniteCount = 0

  package init() {}

  /// sqrt(Σ (x − y)² / Σ x²): 0 where nothing differs, nil where all x are 0 and some y is not.
  package var relativeRMSE: Double? {
    if squaredError == 0 { return 0 }
    return squaredWeight == 0 ? nil : (squaredError / squaredWeight).squareRoot()
  }
  /// Σ xy.
  private var product: Double { (squaredWeight + squaredOther - squaredError) / 2 }
  /// Σ xy / sqrt(Σ x² · Σ y²); nil where all x or all y are 0.
  package var cosine: Double? {
    let scale = (squaredWeight * squaredOther).squareRoot()
    return scale > 0 ? product / scale : nil
  }
  /// Σ xy / Σ x²: by how much y is x on the average; nil where all x are 0.
  package var gain: Double? { squaredWeight > 0 ? product / squaredWeight : nil }
  package var isZero: Bool { maximumError == 0 && nonFiniteCount == 0 }
  /// The larger the worse.
  var rank: Double { nonFiniteCount > 0 ? .infinity : relativeRMSE ?? .greatestFiniteMagnitude }

  /// The elements of another part too.
  package static func += (sum: inout Self, other: Self) {
    sum.squaredError += other.squaredError
    sum.squaredWeight += other.squaredWeight
    sum.squaredOther += other.squaredOther
    sum.maximumError = max(sum.maximumError, other.maximumError)
    sum.nonFiniteCount += other.nonFiniteCount
  }

  package mutating func add(_ x: Span<Float>, _ y: Span<Float>) {
    precondition(x.count == y.count)
    var errors = SIMD8<Double>()
    var weights = SIMD8<Double>()
    var others = SIMD8<Double>()
    var largest = SIMD8<Float>()
    let whole = x.count / 8 * 8
    for start in stride(from: 0, to: whole, by: 8) {
      let (a, b) = (eight(x, start), eight(y, start))
      let d = SIMD8<Double>(a) - SIMD8<Double>(b)
      errors += d * d
      weights += SIMD8<Double>(a) * SIMD8<Double>(a)
      others += SIMD8<Double>(b) * SIMD8<Double>(b)
      let e = a - b
      largest.replace(with: e, where: e .> largest)
      largest.replace(with: -e, where: -e .> largest)
    }
    let (error, weight, other) = (errors.sum(), weights.sum(), others.sum())
    guard error.isFinite, weight.isFinite, other.isFinite else { return addOneByOne(x, y, 0) }
    squaredError += error
    squaredWeight += weight
    squaredOther += other
    maximumError = max(maximumError, largest.max())
    addOneByOne(x, y, whole)
  }

  private mutating func addOneByOne(_ x: Span<Float>, _ y: Span<Float>, _ start: Int) {
    for index in start..<x.count {
      let (a, b) = (x[index], y[index])
      guard a.isFinite, b.isFinite else {
        if a != b, !(a.isNaN && b.isNaN) { nonFiniteCount += 1 }
        continue
      }
      let d = Double(a) - Double(b)
      squaredError += d * d
      squaredWeight += Double(a) * Double(a)
      squaredOther += Double(b) * Double(b)
      maximumError = max(maximumError, Float(abs(d)))
    }
  }
}

/// Compares the elements of tensors of two models; each thread has its own.
final class ElementComparison {
  private let first: InspectedModel
  private let second: InspectedModel
  private let firstReader: ElementReader
  private let secondReader: ElementReader
  private let kernels: KernelSet
  /// The last chunks of both whose stored bytes have their hashes.
  private var verified: (Int, Int)?

  init(_ first: InspectedModel, _ second: InspectedModel, _ kernels: KernelSet) {
    self.first = first
    self.second = second
    self.kernels = kernels
    firstReader = ElementReader(first)
    secondReader = ElementReader(second)
  }

  func compare(_ pair: TensorPair) throws(InspectionError) -> ElementDifference {
    if try haveEqualChunks(pair) { return ElementDifference() }
    if try haveEqualBytes(pair) { return ElementDifference() }
    var difference = ElementDifference()
    var x: [Float] = []
    var y: [Float] = []
    try forEachPiece(pair) { a, b in
      a.decode(kernels, into: &x)
      b.decode(kernels, into: &y)
      difference.add(x.span, y.span)
      return true
    }
    return difference
  }

  /// Whether both lie at the same places of chunks that are stored as the same bytes.
  ///
  /// The tables only tell what the bytes should be, so those of both are hashed. Contents need not be unpacked.
  private func haveEqualChunks(_ pair: TensorPair) throws(InspectionError) -> Bool {
    guard let a = pair.first.record, let b = pair.second.record, a.encoding == b.encoding,
      a.rowsPerChunk == b.rowsPerChunk, a.planeOffsets == b.planeOffsets
    else { return false }
    let haveEqualRecords = zip(first.chunks[a.chunks], second.chunks[b.chunks]).allSatisfy {
      ($0.codec, $0.storedHash, $0.storedLength, $0.contentLength, $0.tailOffset)
        == ($1.codec, $1.storedHash, $1.storedLength, $1.contentLength, $1.tailOffset)
    }
    guard haveEqualRecords else { return false }
    for (own, other) in zip(a.chunks, b.chunks) {
      // The three tensors of an expert share a chunk.
      if let verified, verified == (own, other) { continue }
      try verifyStored(own, first)
      try verifyStored(other, second)
      verified = (own, other)
    }
    return true
  }

  private func verifyStored(_ chunk: Int, _ model: InspectedModel) throws(InspectionError) {
    guard case .pack(let pack) = model.store else { preconditionFailure("chunks of a checkpoint") }
    do throws(PackError) { try pack.verifyStored(chunk: chunk) } catch { throw .pack(error) }
  }

  private func haveEqualBytes(_ pair: TensorPair) throws(InspectionError) -> Bool {
    guard pair.first.type == pair.second.type else { return false }
    var areEqual = true
    try forEachPiece(pair) { a, b in
      let (codesA, codesB) = (a.codes, b.codes)
      let (scalesA, scalesB) = (a.scales, b.scales)
      areEqual = codesA.hasSameBytes(as: codesB) && scalesA.hasSameBytes(as: scalesB)
      return areEqual
    }
    return areEqual
  }

  /// Pieces of both tensors with the same elements, until `body` returns false.
  private func forEachPiece(
    _ pair: TensorPair, _ body: (StoredPiece, StoredPiece) -> Bool
  ) throws(InspectionError) {
    var done = 0
    while done < pair.first.shape.elementCount {
      let a = try firstReader.piece(of: pair.first, from: done)
      let b = try secondReader.piece(of: pair.second, from: done)
      let end = min(a.elements.upperBound, b.elements.upperBound)
      guard body(a.prefix(end - done), b.prefix(end - done)) else { return }
      done = end
    }
  }
}

extension RawSpan {
  fileprivate func hasSameBytes(as other: RawSpan) -> Bool {
    guard byteCount == other.byteCount else { return false }
    return unsafe withUnsafeBytes { a in
      unsafe other.withUnsafeBytes { b in unsafe a.isEmpty || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
    }
  }
}
