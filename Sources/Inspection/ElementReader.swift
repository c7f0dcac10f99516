package import Kernels
import Pack
import Quantization
import Safetensors
package import Tensors

/// A run of consecutive elements of one tensor as they are stored. Alive as long as the value.
package struct StoredPiece: Sendable {
  fileprivate let content: HeldBytes
  fileprivate let codeRange: Range<Int>
  fileprivate let scaleRange: Range<Int>
  package let elements: Range<Int>
  package let encoding: Encoding

  /// Codes, or the elements themselves.
  package var codes: RawSpan {
    @_lifetime(borrow self) get { bytes(codeRange) }
  }
  /// bf16 scales; empty where there are none.
  package var scales: RawSpan {
    @_lifetime(borrow self) get { bytes(scaleRange) }
  }

  @_lifetime(borrow self)
  private func bytes(_ range: Range<Int>) -> RawSpan {
    let content = content
    return unsafe _overrideLifetime(content.bytes.extracting(range), borrowing: self)
  }

  /// The first elements.
  ///
  /// - Precondition: a whole number of groups, or all.
  func prefix(_ count: Int) -> StoredPiece {
    let codeEnd = codeRange.lowerBound + encoding.codeByteCount(elements: count)
    let scaleEnd = scaleRange.lowerBound + encoding.scaleByteCount(elements: count)
    return StoredPiece(
      content: content, codeRange: codeRange.lowerBound..<codeEnd, scaleRange: scaleRange.lowerBound..<scaleEnd,
      elements: elements.lowerBound..<elements.lowerBound + count, encoding: encoding)
  }

  /// Writes the decoded elements into `values`, which gets their number.
  package func decode(_ kernels: KernelSet, into values: inout [Float]) {
    if values.count != elements.count { values = [Float](repeating: 0, count: elements.count) }
    let (codes, scales) = (codes, scales)
    var target = values.mutableSpan
    do throws(QuantizationError) {
      try Quantizer.decode(codes: codes, scales: scales, as: encoding, kernels: kernels, into: &target)
    } catch { preconditionFailure("every encoding of the list is decoded") }
  }
}

/// Reads a model's tensors piece by piece. Remembers the last chunk, so each thread has its own.
package final class ElementReader {
  /// Elements of one piece: 1 MiB as floats. A multiple of all group sizes.
  package static let pieceElementCount = 1 << 18

  private let model: InspectedModel
  private let codec = ChunkCodec()
  private var current: (chunk: Int, content: HeldBytes)?

  package init(_ model: InspectedModel) { self.model = model }

  /// The encoding of a tensor that can be decoded.
  ///
  /// - Throws: ``InspectionError/notDecodable(tensor:type:path:)``, or the pack's `unknownEncoding`.
  package func requireEncoding(of tensor: InspectedTensor) throws(InspectionError) -> Encoding {
    switch tensor.type {
    case .encoding(let encoding): return encoding
    case .dtype(let dtype): throw .notDecodable(tensor: tensor.name, type: dtype.name, path: model.path)
    case .unknown(let id, let groupSize):
      throw .pack(.unknownEncoding(id: id, groupSize: groupSize, tensor: tensor.name, path: model.path))
    }
  }

  /// The elements from `first` on, up to the next multiple of `pieceElementCount` or the end of the chunk.
  ///
  /// - Throws: rules 17 and 18 where a chunk was changed; what `requireEncoding` throws.
  package func piece(of tensor: InspectedTensor, from first: Int) throws(InspectionError) -> StoredPiece {
    let encoding = try requireEncoding(of: tensor)
    let step = Self.pieceElementCount
    let end = min((first / step + 1) * step, tensor.shape.elementCount)
    precondition(first < end)
    switch (tensor.place, model.store) {
    case (.bytes(let file, let range), .checkpoint(let checkpoint)):
      let width = encoding.codeBits / 8
      return StoredPiece(
        content: HeldBytes(checkpoint.files[file].file, range), codeRange: first * width..<end * width,
        scaleRange: 0..<0, elements: first..<end, encoding: encoding)
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
    let content: HeldBytes
    if let current, current.chunk == chunk {
      content = current.content
    } else {
      content = try pack.content(ofChunk: chunk, codec: codec, verified: true)
      current = (chunk, content)
    }
    // Planes are cut at whole groups: pieces and chunks both start at multiples of the group size.
    func place(_ plane: Range<Int>, _ byteCount: (Int) -> Int) -> Range<Int> {
      let from = plane.lowerBound + byteCount(elements.lowerBound - start)
      return from..<from + byteCount(elements.count)
    }
    return StoredPiece(
      content: content, codeRange: place(planes[0], encoding.codeByteCount),
      scaleRange: encoding.isGrouped ? place(planes[1], encoding.scaleByteCount) : 0..<0, elements: elements,
      encoding: encoding)
  }
}
