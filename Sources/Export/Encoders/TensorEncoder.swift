import Kernels
import Models
import Quantization
import Storage
import Tensors

/// Makes the bytes of an output of rows of a tensor of the pack.
protocol TensorEncoder: Sendable {
  /// Bytes of so many rows of so many elements. Where a tensor may be cut into chunks of rows this is proportional to the rows.
  func byteCount(rows: Int, columns: Int) -> Int
  /// What rows may hold that it cannot write; nil where it writes whatever they hold.
  var obstacle: ExportRefusal.Obstacle? { get }
  /// Whether it can write these rows. Asked of those that have an obstacle, before ``encode(_:_:into:)``.
  func holds(_ rows: StoredRows, _ kernels: KernelSet) -> Bool
  /// Writes the bytes of the rows; `out` has their number.
  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan)
}

extension TensorEncoder {
  var obstacle: ExportRefusal.Obstacle? { nil }
  func holds(_ rows: StoredRows, _ kernels: KernelSet) -> Bool { true }
}

/// Rows of a tensor as a chunk of the pack holds them. Alive as long as the value.
struct StoredRows: Sendable {
  let encoding: Encoding
  let columns: Int
  let count: Int
  private let content: SharedBytes
  private let codeRange: Range<Int>
  private let scaleRange: Range<Int>

  /// - Parameter planes: of the rows, in the content.
  init(_ encoding: Encoding, columns: Int, count: Int, _ content: SharedBytes, planes: [Range<Int>]) {
    self.encoding = encoding
    self.columns = columns
    self.count = count
    self.content = content
    codeRange = planes[0]
    scaleRange = planes.count > 1 ? planes[1] : 0..<0
  }

  /// Codes, or the elements themselves.
  var codes: RawSpan {
    @_lifetime(borrow self) get { bytes(codeRange) }
  }
  /// The scales as they are stored; empty where there are none.
  var scales: RawSpan {
    @_lifetime(borrow self) get { bytes(scaleRange) }
  }

  @_lifetime(borrow self)
  private func bytes(_ range: Range<Int>) -> RawSpan {
    let content = content
    return unsafe _overrideLifetime(content.bytes.extracting(range), borrowing: self)
  }

  /// The scale of each group, exact in bf16 and in f16.
  var groupScales: [Float] {
    let scales = scales
    return Quantizer.scales(scales, as: encoding, columns: columns)
  }

  /// Goes through the rows, decoded.
  func forEachRow(_ kernels: KernelSet, _ body: (Int, [Float]) -> Void) {
    let (codes, scales) = (codes, scales)
    let codeBytes = encoding.codeByteCount(elements: columns)
    let scaleBytes = encoding.scaleByteCount(elements: columns, columns: columns)
    var row = [Float](repeating: 0, count: columns)
    for index in 0..<count {
      var target = row.mutableSpan
      Quantizer.decode(
        codes: codes.extracting(index * codeBytes..<(index + 1) * codeBytes),
        scales: scales.extracting(index * scaleBytes..<(index + 1) * scaleBytes), as: encoding, columns: columns,
        kernels: kernels, into: &target)
      body(index, row)
    }
  }

  /// Whether the largest magnitude of all numbers is less than another once it is divided, which that of NaN is not.
  func isBelow(_ limit: Float, dividedBy divisor: Float = 1, _ kernels: KernelSet) -> Bool {
    // Magnitudes are in the order of their bits, infinities and NaN last.
    var largest: UInt32 = 0
    forEachRow(kernels) { _, row in
      for value in row { largest = max(largest, value.bitPattern & 0x7FFF_FFFF) }
    }
    return Float(bitPattern: largest) / divisor < limit
  }

  var code: Encoding.Code {
    guard let codes = encoding.codes else { preconditionFailure("elements that stand for themselves have no codes") }
    return codes.code
  }
}

/// Elements as they are stored.
struct StoredElements: TensorEncoder {
  let byteWidth: Int

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * byteWidth }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    out.write(rows.codes, at: 0)
  }
}
