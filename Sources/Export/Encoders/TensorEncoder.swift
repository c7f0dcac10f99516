import Kernels
import Models
import Quantization
import Storage
import Tensors

/// Makes the bytes of an output of rows of a tensor of the pack.
protocol TensorEncoder: Sendable {
  /// Bytes of so many rows of so many elements. Where a tensor may be cut into chunks of rows this is proportional to the rows.
  func byteCount(rows: Int, columns: Int) -> Int
  /// Writes the bytes of the rows; `out` has their number.
  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan)
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

/// Numbers, decoded: as f32, which is exact, or rounded once to bf16.
struct DecodedElements: TensorEncoder {
  let isRounded: Bool

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * (isRounded ? 2 : 4) }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    let (codes, scales) = (rows.codes, rows.scales)
    var row = [Float](repeating: 0, count: rows.columns)
    let codeBytes = rows.encoding.codeByteCount(elements: rows.columns)
    let scaleBytes = rows.encoding.scaleByteCount(elements: rows.columns, columns: rows.columns)
    var rounded = [UInt16](repeating: 0, count: isRounded ? rows.columns : 0)
    for index in 0..<rows.count {
      var target = row.mutableSpan
      Quantizer.decode(
        codes: codes.extracting(index * codeBytes..<(index + 1) * codeBytes),
        scales: scales.extracting(index * scaleBytes..<(index + 1) * scaleBytes), as: rows.encoding,
        columns: rows.columns, kernels: kernels, into: &target)
      if isRounded {
        for column in row.indices { rounded[column] = BFloat16.narrow(row[column]).littleEndian }
        unsafe out.write(rounded.span.bytes, at: 2 * index * rows.columns)
      } else {
        unsafe out.write(row.span.bytes, at: 4 * index * rows.columns)
      }
    }
  }
}
