package import Kernels
package import Models
import Pack
import Quantization
import Safetensors
import Storage
package import Tensors

/// A run of consecutive elements of one tensor as they are stored. Alive as long as the value.
package struct StoredPiece: Sendable {
  fileprivate let content: SharedBytes
  fileprivate let codeRange: Range<Int>
  fileprivate let scaleRange: Range<Int>
  package let elements: Range<Int>
  package let encoding: Encoding
  /// Columns of a row.
  fileprivate let columns: Int

  /// Codes, or the elements themselves.
  package var codes: RawSpan {
    @_lifetime(borrow self) get { bytes(codeRange) }
  }
  /// The scales as they are stored; empty where there are none.
  package var scales: RawSpan {
    @_lifetime(borrow self) get { bytes(scaleRange) }
  }

  @_lifetime(borrow self)
  private func bytes(_ range: Range<Int>) -> RawSpan {
    let content = content
    return unsafe _overrideLifetime(content.bytes.extracting(range), borrowing: self)
  }

  /// Scale by scale, in the order of the groups.
  var decodedScales: [Float] {
    let scales = scales
    return Quantizer.scales(scales, as: encoding, columns: columns)
  }

  /// Scales at the lowest value that the base of their row allows.
  var lowestScaleCount: Int {
    let scales = scales
    return Quantizer.lowestScaleCount(scales, as: encoding, columns: columns)
  }

  /// The first elements.
  ///
  /// - Precondition: what `Encoding.unitElementCount` divides, or all.
  func prefix(_ count: Int) -> StoredPiece {
    let codeEnd = codeRange.lowerBound + encoding.codeByteCount(elements: count)
    let scaleEnd = scaleRange.lowerBound + encoding.scaleByteCount(elements: count, columns: columns)
    return StoredPiece(
      content: content, codeRange: codeRange.lowerBound..<codeEnd, scaleRange: scaleRange.lowerBound..<scaleEnd,
      elements: elements.lowerBound..<elements.lowerBound + count, encoding: encoding, columns: columns)
  }

  /// Writes the decoded elements into `values`, which gets their number.
  package func decode(_ kernels: KernelSet, into values: inout [Float]) {
    if values.count != elements.count { values = [Float](repeating: 0, count: elements.count) }
    let (codes, scales) = (codes, scales)
    var target = values.mutableSpan
    Quantizer.decode(codes: codes, scales: scales, as: encoding, columns: columns, kernels: kernels, into: &target)
  }
}

/// Reads a model's tensors piece by piece. Remembers the last chunk, so each thread has its own.
package final class ElementReader {
  /// Elements of one piece, about: 1 MiB as floats. A multiple of all group sizes.
  package static let pieceElementCount = 1 << 18

  /// The elements of one piece: whole rows, unless a row is longer than any with a base. The same for all encodings, so that
  /// pieces of two models match.
  private static func step(columns: Int) -> Int {
    columns > Encoding.maximumRow ? pieceElementCount : max(1, pieceElementCount / columns) * columns
  }

  private let model: InspectedModel
  private let codec = ChunkCodec()
  private var current: (chunk: Int, content: SharedBytes)?

  package init(_ model: InspectedModel) { self.model = model }

  /// The encoding of a tensor that can be decoded.
  ///
  /// - Throws: ``InspectionError/notDecodable(tensor:type:path:)``, or the pack's `unknownEncoding`.
  package func requireEncoding(of tensor: StoredTensor) throws(InspectionError) -> Encoding {
    switch tensor.type {
    case .encoding(let encoding): return encoding
    case .dtype(let dtype): throw .notDecodable(tensor: tensor.name, type: dtype.name, path: model.path)
    case .unknown(let id, let groupSize):
      throw .pack(.unknownEncoding(id: id, groupSize: groupSize, tensor: tensor.name, path: model.path))
    }
  }

  /// The elements from `first` on, about `pieceElementCount` of them, up to the end of the chunk.
  ///
  /// - Throws: rules 17 and 18 where a chunk was changed; what `requireEncoding` throws.
  package func piece(of tensor: StoredTensor, from first: Int) throws(InspectionError) -> StoredPiece {
    let encoding = try requireEncoding(of: tensor)
    let step = Self.step(columns: tensor.shape.columns)
    let end = min((first / step + 1) * step, tensor.shape.elementCount)
    precondition(first < end)
    switch (tensor.place, model.store) {
    case (.bytes(let file, let range), .checkpoint(let checkpoint)):
      let width = encoding.codeBits / 8
      return StoredPiece(
        content: SharedBytes(checkpoint.files[file].file, range), codeRange: first * width..<end * width,
        scaleRange: 0..<0, elements: first..<end, encoding: encoding, columns: tensor.shape.columns)
    case (.fp8(let file, let range, let scales), .checkpoint(let checkpoint)):
      let codes = SharedBytes(checkpoint.files[file].file, range.lowerBound + first..<range.lowerBound + end)
      var numbers = AlignedBuffer(byteCount: 2 * (end - first))
      scales.decode(codes.bytes, from: first, into: &numbers)
      return StoredPiece(
        content: SharedBytes(numbers), codeRange: 0..<2 * (end - first), scaleRange: 0..<0, elements: first..<end,
        encoding: encoding, columns: tensor.shape.columns)
    case (.packed(_, let codes), .checkpoint):
      let columns = tensor.shape.columns
      let rows = first / columns..<(end + columns - 1) / columns
      let before = first - rows.lowerBound * columns
      do throws(ModelError) {
        let (content, codeRange, scaleRange) = try codes.planes(rows)
        let codeStart = codeRange.lowerBound + encoding.codeByteCount(elements: before)
        let scaleStart = scaleRange.lowerBound + encoding.scaleByteCount(elements: before, columns: columns)
        return StoredPiece(
          content: content, codeRange: codeStart..<codeStart + encoding.codeByteCount(elements: end - first),
          scaleRange: scaleStart..<scaleStart + encoding.scaleByteCount(elements: end - first, columns: columns),
          elements: first..<end, encoding: encoding, columns: columns)
      } catch { throw .model(error) }
    case (.chunks(let record), .pack(let pack)):
      do throws(PackError) { return try piece(of: record, encoding, first..<end, pack) } catch { throw .pack(error) }
    default: preconditionFailure("a tensor of another model")
    }
  }

  private func piece(
    of record: TensorRecord, _ encoding: Encoding, _ wanted: Range<Int>, _ pack: PackFile
  ) throws(PackError) -> StoredPiece {
    let position = wanted.lowerBound / record.shape.columns / record.rowsPerChunk
    let chunk = record.firstChunk + position
    let rows = record.rows(inChunk: position)
    let start = rows.lowerBound * record.shape.columns
    let elements = wanted.lowerBound..<min(wanted.upperBound, rows.upperBound * record.shape.columns)
    let (_, planes) = try pack.planes(of: record, chunk: position)
    let content: SharedBytes
    if let current, current.chunk == chunk {
      content = current.content
    } else {
      content = try pack.content(ofChunk: chunk, codec: codec, verified: true)
      current = (chunk, content)
    }
    // Planes are cut at whole rows or groups: pieces and chunks both start there.
    let columns = record.shape.columns
    let places = zip(encoding.planes, planes).map { plane, range in
      let from = range.lowerBound + plane.byteCount(elements: elements.lowerBound - start, columns: columns)
      return from..<from + plane.byteCount(elements: elements.count, columns: columns)
    }
    return StoredPiece(
      content: content, codeRange: places[0], scaleRange: places.count > 1 ? places[1] : 0..<0, elements: elements,
      encoding: encoding, columns: columns)
  }
}
