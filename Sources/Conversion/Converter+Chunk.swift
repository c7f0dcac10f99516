import Calibration
import Dispatch
import Kernels
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors

// One chunk: its weights read, encoded and made ready to be stored.

extension Converter {
  struct EncodedResult: Sendable {
    var chunk: EncodedChunk
    var statistics: [QuantizationStatistics]
    /// What is said of an expert that was solved, by projection.
    var solutions: [SolutionRecord.Matrix?]
    /// Bytes of the source.
    var byteCount: Int
  }

  /// Reads and encodes one chunk.
  func encode(
    _ index: Int, _ codec: ChunkCodec, _ solver: LayerSolver?, wasResident: Bool
  ) throws(ConversionError) -> EncodedResult {
    let chunk = plan.pack.chunks[index]
    if !wasResident, budget.readers == 0, index + budget.window < plan.pack.chunks.count {
      for part in parts(of: index + budget.window) { part.file.willNeed(part.range) }
    }
    var content = contents.take(byteCount: chunk.layout.byteCount)
    zeroGaps(chunk.layout, in: &content)
    var statistics: [QuantizationStatistics] = []
    var solutions: [SolutionRecord.Matrix?] = []
    var byteCount = 0
    let solved = try solver.flatMap { (solver) throws(ConversionError) in try solve(index, solver) }
    for (position, part) in parts(of: index).enumerated() {
      let planes = chunk.layout.planes[position]
      solutions.append(solved?[position]?.record)
      if let matrix = solved?[position] {
        statistics.append(matrix.statistics)
        var bytes = content.mutableBytes
        bytes.write(matrix.codes.bytes, at: planes[0].lowerBound)
        bytes.write(matrix.scales.bytes, at: planes[1].lowerBound)
      } else {
        statistics.append(try encode(part, planes, wasResident: wasResident, into: &content))
      }
      byteCount += part.byteCount
    }
    encoders.wait()
    defer { encoders.signal() }
    return EncodedResult(
      chunk: codec.encode(content, tailOffset: chunk.layout.tailOffset), statistics: statistics,
      solutions: solutions, byteCount: byteCount)
  }

  /// The planes are overwritten; what alignment leaves between them still holds another chunk's bytes.
  private func zeroGaps(_ layout: ContentLayout, in content: inout AlignedBuffer) {
    let zeros = [UInt8](repeating: 0, count: PackLimits.alignment)
    var end = 0
    for plane in layout.planes.joined().sorted(by: { $0.lowerBound < $1.lowerBound }) where !plane.isEmpty {
      var bytes = content.mutableBytes
      bytes.write(zeros.bytes.extracting(first: plane.lowerBound - end), at: end)
      end = plane.upperBound
    }
  }

  /// The source bytes of one tensor in one chunk.
  struct Part {
    let tensor: PackPlan.Tensor
    let solver: any Solver
    /// Of the weights; that of the bytes, but for FP8.
    let dtype: DType
    let file: ReadOnlyFile
    let range: Range<Int>
    let firstRow: Int
    /// Of FP8.
    var scales: FP8Scales?
    /// The rows of a matrix that is quantized already.
    var packed: (codes: PackedCodes, rows: Range<Int>)?
    /// Whether its codes are taken as they are; the type is none of its own then.
    var takesCodes = false

    /// Bytes of an element in the file.
    var width: Int { scales == nil ? dtype.byteCount : 1 }
    /// Bytes that are read for this part alone.
    var byteCount: Int { packed.map { $0.codes.codeByteCount(rows: $0.rows.count) } ?? range.count }
  }

  func parts(of index: Int) -> [Part] {
    let chunk = plan.pack.chunks[index]
    return chunk.tensors.map { tensor in
      let source = plan.sources[tensor]
      let rows = chunk.kind == .rows ? chunk.rows : 0..<source.shape.rows
      if case .packed(let file, let codes) = source.place {
        return Part(
          tensor: plan.pack.tensors[tensor], solver: plan.solvers[tensor],
          dtype: source.type.encoding?.dtype ?? codes.codes.entry.dtype, file: files[file],
          range: codes.codeRange(rows), firstRow: rows.lowerBound, packed: (codes, rows),
          takesCodes: source.type.isGrouped)
      }
      guard let (file, range, scales) = source.bytes, let dtype = source.type.encoding?.dtype else {
        preconditionFailure("the source is a checkpoint of floats")
      }
      let rowByteCount = range.count / max(source.shape.rows, 1)
      let start = range.lowerBound + rows.lowerBound * rowByteCount
      return Part(
        tensor: plan.pack.tensors[tensor], solver: plan.solvers[tensor], dtype: dtype, file: files[file],
        range: start..<start + rows.count * rowByteCount, firstRow: rows.lowerBound, scales: scales)
    }
  }

  /// Encodes one tensor, as it comes from the page cache or past it.
  private func encode(
    _ part: Part, _ planes: [Range<Int>], wasResident: Bool, into content: inout AlignedBuffer
  ) throws(ConversionError) -> QuantizationStatistics {
    var statistics = QuantizationStatistics()
    if part.takesCodes, let (codes, rows) = part.packed {
      encoders.wait()
      defer { encoders.signal() }
      do throws(ModelError) {
        try content.withDisjoint(planes[0], planes[1]) { (codePlane, scalePlane) throws(ModelError) in
          try codes.write(rows, codes: &codePlane, scales: &scalePlane)
        }
      } catch { throw .model(error) }
      if !wasResident { SharedBytes(codes.codes.file.file, part.range).release() }
      return statistics
    }
    // Whole groups, or whole rows where each has a base: no row of those is longer than a piece.
    let unit = part.tensor.encoding.unitElementCount(columns: part.tensor.shape.columns)
    try forEachPiece(of: part, unit: unit, wasResident: wasResident) { (weights, first) throws(ConversionError) in
      try encode(weights, first, of: part, planes, into: &content, &statistics)
    }
    return statistics
  }

  /// Goes once through the weights of a part in order: as they lie in the file, FP8 as bf16, or codes as numbers.
  ///
  /// - Parameters:
  ///   - unit: elements that are not cut apart.
  ///   - body: takes some weights, and the number of those before.
  func forEachPiece(
    of part: Part, unit: Int, wasResident: Bool, _ body: (RawSpan, Int) throws(ConversionError) -> Void
  ) throws(ConversionError) {
    if let (codes, rows) = part.packed {
      return try forEachPiece(of: codes, rows, part, wasResident: wasResident, body)
    }
    let step = MemoryBudget.pieceByteCount / (unit * part.dtype.byteCount) * unit
    try part.file.forEachPiece(
      of: part.range, wasCached: wasResident, step: step * part.width, budget.readers > 0 ? pieces : nil,
      failure: { .source(SafetensorsError($0)) }
    ) { (bytes, offset) throws(ConversionError) in
      guard let scales = part.scales else { return try body(bytes, offset / part.dtype.byteCount) }
      var numbers = pieces.take()
      let start = part.firstRow * part.tensor.shape.columns + offset
      for first in stride(from: 0, to: bytes.byteCount, by: step) {
        let count = min(step, bytes.byteCount - first)
        scales.decode(
          bytes.extracting(first..<first + count), from: start + first, into: &numbers, kernels: kernels)
        try body(numbers.bytes.extracting(first: 2 * count), offset + first)
      }
    }
  }

  /// The numbers of whole rows.
  private func forEachPiece(
    of codes: PackedCodes, _ rows: Range<Int>, _ part: Part, wasResident: Bool,
    _ body: (RawSpan, Int) throws(ConversionError) -> Void
  ) throws(ConversionError) {
    guard let format = FloatFormat(part.dtype) else { preconditionFailure("numbers are floats") }
    let rowByteCount = codes.shape.columns * format.byteCount
    let step = max(1, MemoryBudget.pieceByteCount / rowByteCount)
    var numbers = AlignedBuffer(byteCount: min(step, rows.count) * rowByteCount)
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
      let piece = first..<min(first + step, rows.upperBound)
      codes.write(piece, as: format, into: &numbers, kernels: kernels)
      try body(
        numbers.bytes.extracting(first: piece.count * rowByteCount), (first - rows.lowerBound) * codes.shape.columns)
    }
    if !wasResident { SharedBytes(codes.codes.file.file, part.range).release() }
  }

  /// Encodes some weights of a part, which come after `first` others; goes on with the sums of those before, so that they do not
  /// depend on the cuts.
  private func encode(
    _ source: RawSpan, _ first: Int, of part: Part, _ planes: [Range<Int>], into content: inout AlignedBuffer,
    _ statistics: inout QuantizationStatistics
  ) throws(ConversionError) {
    encoders.wait()
    defer { encoders.signal() }
    let encoding = part.tensor.encoding
    guard encoding.isGrouped else {
      if let element = Quantizer.firstNotFinite(source, dtype: part.dtype, kernels: kernels) {
        throw notFinite(part, first + element)
      }
      var bytes = content.mutableBytes
      bytes.write(source, at: planes[0].lowerBound + first * part.dtype.byteCount)
      return
    }
    let count = source.byteCount / part.dtype.byteCount
    let columns = part.tensor.shape.columns
    func bytes(ofPlane plane: Int) -> Range<Int> {
      let description = encoding.planes[plane]
      let start = planes[plane].lowerBound + description.byteCount(elements: first, columns: columns)
      return start..<start + description.byteCount(elements: count, columns: columns)
    }
    do throws(QuantizationError) {
      try content.withDisjoint(bytes(ofPlane: 0), bytes(ofPlane: 1)) { (codes, scales) throws(QuantizationError) in
        guard let solver = part.solver as? any GroupwiseSolver else {
          preconditionFailure("what needs states is solved before")
        }
        try Quantizer.encode(
          source, dtype: part.dtype, columns: columns, as: encoding, solver: solver, kernels: kernels,
          codes: &codes, scales: &scales, adding: &statistics)
      }
    } catch {
      switch error {
      case .notFinite(let element): throw notFinite(part, first + element)
      case .scaleTooLarge(let element):
        let (row, column, byteOffset) = place(of: first + element, in: part)
        throw .tooLarge(
          tensor: part.tensor.name, row: row, column: column, path: part.file.path, byteOffset: byteOffset)
      case .unsupported, .unsupportedSource: preconditionFailure("the plan uses encodings with a scheme")
      }
    }
  }

  func notFinite(_ part: Part, _ element: Int) -> ConversionError {
    let (row, column, byteOffset) = place(of: element, in: part)
    if let scales = part.scales, let scale = scales.notFinite(row, column) {
      let columns = scales.entry.shape.columns
      return .notFinite(
        tensor: scales.entry.name, row: scale.index / columns, column: scale.index % columns, path: scales.file.path,
        byteOffset: scale.byteOffset)
    }
    if let packed = part.packed, let scale = packed.codes.scaleNotFinite(row, column) {
      return .notFinite(tensor: scale.tensor, row: row, column: column, path: scale.path, byteOffset: scale.byteOffset)
    }
    return .notFinite(
      tensor: part.tensor.name, row: row, column: column, path: part.file.path, byteOffset: byteOffset)
  }

  func place(of element: Int, in part: Part) -> (row: Int, column: Int, byteOffset: Int) {
    let columns = part.tensor.shape.columns
    // Of codes the place of the first: they may lie in any order.
    let byteOffset = part.range.lowerBound + (part.packed == nil ? element * part.width : 0)
    return (part.firstRow + element / columns, element % columns, byteOffset)
  }
}
