import Dispatch
package import Kernels
import Models
import Pack
package import Quantization
import Safetensors
import Storage
import Tensors

/// Carries a plan out: reads each chunk's weights, encodes them, and writes the chunks in order.
package struct Converter: Sendable {
  package let plan: ConversionPlan
  package let kernels: KernelSet
  /// Threads that encode.
  package let threads: Int
  package let budget: MemoryBudget
  private let contents: BufferPool
  private let pieces = BufferPool(capacity: ReadOnlyFile.bufferByteCount(MemoryBudget.pieceByteCount))
  /// Of the checkpoint.
  private let files: [ReadOnlyFile]
  /// As many as may encode at once.
  private let encoders: DispatchSemaphore

  /// What a conversion came to.
  package struct Outcome: Sendable {
    package let byteCount: Int
    /// Stored bytes of all routed experts.
    package let expertByteCount: Int
    /// The root hash of the pack; nil for a dry run.
    package let rootHash: UInt64?
    /// By tensor of the pack plan; plain ones have no error.
    package let statistics: [QuantizationStatistics]
  }

  package init(_ plan: ConversionPlan, kernels: KernelSet, threads: Int, memoryLimit: Int) throws(ConversionError) {
    self.plan = plan
    self.kernels = kernels
    budget = try MemoryBudget(plan, limit: memoryLimit, threads: threads)
    self.threads = min(threads, budget.window)
    let largest = plan.pack.chunks.map(\.layout.byteCount).max() ?? 0
    contents = BufferPool(
      capacity: ChunkCodec.bufferByteCount(contentLength: largest, plan.options.compression))
    files = plan.checkpoint.files.map { ReadOnlyFile($0.file) }
    encoders = DispatchSemaphore(value: self.threads)
  }

  /// Writes the pack.
  ///
  /// - Parameters:
  ///   - replaces: whether a file that has the name may be replaced.
  ///   - progress: called after each chunk with the source bytes done so far.
  ///   - isInterrupted: asked after each chunk; true stops with ``ConversionError/interrupted``.
  /// - Throws: ``ConversionError``; nothing is left under the final name or beside it.
  package func write(
    to path: String, replaces: Bool = true, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> Outcome {
    var writer: PackWriter
    do throws(PackError) {
      writer = try PackWriter(
        path: path, plan: plan.pack, replaces: replaces, depth: budget.writes,
        byteCount: plan.options.compression == .none ? plan.rawByteCount : nil)
    } catch { throw .pack(error) }
    var expertByteCount = 0
    let statistics = try encodeAll(progress: progress, isInterrupted: isInterrupted) {
      (kind, chunk) throws(ConversionError) in
      if kind == .expert { expertByteCount += chunk.storedLength }
      do throws(PackError) { try writer.append(chunk) } catch { throw .pack(error) }
    }
    let errors = statistics.map {
      PackAssembler.TensorErrors(relativeRMSE: $0.relativeRMSE, saturatedShare: $0.saturatedShare)
    }
    do throws(PackError) {
      let header = try writer.finish(errors: errors, codec: ChunkCodec(plan.options.compression))
      return Outcome(
        byteCount: header.fileLength, expertByteCount: expertByteCount, rootHash: header.rootHash,
        statistics: statistics)
    } catch { throw .pack(error) }
  }

  /// Finds the exact size of the pack without writing. Without compression the plan alone tells it, in no time; with
  /// compression all weights have to be read and encoded.
  package func measure(progress: (Int) -> Void, isInterrupted: () -> Bool) throws(ConversionError) -> Outcome {
    guard plan.options.compression != .none else {
      return Outcome(
        byteCount: plan.rawByteCount, expertByteCount: plan.rawExpertByteCount, rootHash: nil, statistics: [])
    }
    var assembler = PackAssembler(plan: plan.pack)
    var expertByteCount = 0
    let statistics = try encodeAll(progress: progress, isInterrupted: isInterrupted) { kind, chunk in
      if kind == .expert { expertByteCount += chunk.storedLength }
      assembler.place(chunk)
    }
    let codec = ChunkCodec(plan.options.compression)
    for file in plan.pack.files { assembler.place(codec.encode(file)) }
    let errors = statistics.map { _ in PackAssembler.TensorErrors() }
    let header = assembler.assemble(errors: errors).header
    return Outcome(
      byteCount: header.fileLength, expertByteCount: expertByteCount, rootHash: nil, statistics: statistics)
  }

  private typealias EncodedResult = (chunk: EncodedChunk, statistics: [QuantizationStatistics], byteCount: Int)

  private func encodeAll(
    progress: (Int) -> Void, isInterrupted: () -> Bool,
    _ consume: (ChunkRecord.Kind, EncodedChunk) throws(ConversionError) -> Void
  ) throws(ConversionError) -> [QuantizationStatistics] {
    var statistics = plan.pack.tensors.map { _ in QuantizationStatistics() }
    var done = 0
    let compression = plan.options.compression
    // Asked before the first byte is read: what we ask the system to read ahead would look as if it had been there.
    let wasResident = plan.pack.chunks.indices.map { index in
      parts(of: index).allSatisfy { $0.file.isCached($0.range) }
    }
    // One more than encodes, at least, so that the calling thread can write meanwhile.
    let workers = wasResident.allSatisfy { $0 } ? max(threads, 2) : max(threads, budget.readers)
    try inOrder(
      count: plan.pack.chunks.count, threads: min(workers, budget.window), window: budget.window,
      makeWorkspace: { ChunkCodec(compression, buffers: contents) },
      work: { codec, index in
        do throws(ConversionError) {
          return .success(try encode(index, codec, wasResident: wasResident[index]))
        } catch { return .failure(error) }
      },
      consume: { (index, result: EncodedResult) throws(ConversionError) in
        if isInterrupted() { throw .interrupted }
        try consume(plan.pack.chunks[index].kind, result.chunk)
        for (tensor, part) in zip(plan.pack.chunks[index].tensors, result.statistics) { statistics[tensor] += part }
        done += result.byteCount
        progress(done)
      })
    do { try plan.requireUnchangedSources() } catch { throw .source(error) }
    return statistics
  }

  /// Reads and encodes one chunk.
  private func encode(
    _ index: Int, _ codec: ChunkCodec, wasResident: Bool
  ) throws(ConversionError) -> EncodedResult {
    let chunk = plan.pack.chunks[index]
    if !wasResident, budget.readers == 0, index + budget.window < plan.pack.chunks.count {
      for part in parts(of: index + budget.window) { part.file.willNeed(part.range) }
    }
    var content = contents.take(byteCount: chunk.layout.byteCount)
    zeroGaps(chunk.layout, in: &content)
    var statistics: [QuantizationStatistics] = []
    var byteCount = 0
    for (position, part) in parts(of: index).enumerated() {
      statistics.append(try encode(part, chunk.layout.planes[position], wasResident: wasResident, into: &content))
      byteCount += part.range.count
    }
    encoders.wait()
    defer { encoders.signal() }
    return (codec.encode(content, tailOffset: chunk.layout.tailOffset), statistics, byteCount)
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
  private struct Part {
    let tensor: PackPlan.Tensor
    let solver: any Solver
    let dtype: DType
    let file: ReadOnlyFile
    let range: Range<Int>
    let firstRow: Int
  }

  private func parts(of index: Int) -> [Part] {
    let chunk = plan.pack.chunks[index]
    return chunk.tensors.map { tensor in
      let source = plan.sources[tensor]
      guard case .bytes(let file, let range) = source.place, let dtype = source.type.encoding?.dtype else {
        preconditionFailure("the source is a checkpoint of floats")
      }
      let rows = chunk.kind == .rows ? chunk.rows : 0..<source.shape.rows
      let rowByteCount = source.shape.columns * dtype.byteCount
      let start = range.lowerBound + rows.lowerBound * rowByteCount
      return Part(
        tensor: plan.pack.tensors[tensor], solver: plan.solvers[tensor], dtype: dtype, file: files[file],
        range: start..<start + rows.count * rowByteCount, firstRow: rows.lowerBound)
    }
  }

  /// Encodes one tensor, as it comes from the page cache or past it.
  private func encode(
    _ part: Part, _ planes: [Range<Int>], wasResident: Bool, into content: inout AlignedBuffer
  ) throws(ConversionError) -> QuantizationStatistics {
    var statistics = QuantizationStatistics()
    // Whole groups, or whole rows where each has a base: no row of those is longer than a piece.
    let unit = part.tensor.encoding.unitElementCount(columns: part.tensor.shape.columns) * part.dtype.byteCount
    try part.file.forEachPiece(
      of: part.range, wasCached: wasResident, step: MemoryBudget.pieceByteCount / unit * unit,
      budget.readers > 0 ? pieces : nil, failure: { .source(SafetensorsError($0)) }
    ) { (bytes, offset) throws(ConversionError) in
      try encode(bytes, offset, of: part, planes, into: &content, &statistics)
    }
    return statistics
  }

  /// Encodes some bytes of a part, which begin `offset` bytes after its start; goes on with the sums of those before, so
  /// that they do not depend on the cuts.
  private func encode(
    _ source: RawSpan, _ offset: Int, of part: Part, _ planes: [Range<Int>], into content: inout AlignedBuffer,
    _ statistics: inout QuantizationStatistics
  ) throws(ConversionError) {
    encoders.wait()
    defer { encoders.signal() }
    let encoding = part.tensor.encoding
    let first = offset / part.dtype.byteCount
    guard encoding.isGrouped else {
      if let element = Quantizer.firstNotFinite(source, dtype: part.dtype, kernels: kernels) {
        throw notFinite(part, first + element)
      }
      var bytes = content.mutableBytes
      bytes.write(source, at: planes[0].lowerBound + offset)
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
        try Quantizer.encode(
          source, dtype: part.dtype, columns: columns, as: encoding, solver: part.solver, kernels: kernels,
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

  private func notFinite(_ part: Part, _ element: Int) -> ConversionError {
    let (row, column, byteOffset) = place(of: element, in: part)
    return .notFinite(
      tensor: part.tensor.name, row: row, column: column, path: part.file.path, byteOffset: byteOffset)
  }

  private func place(of element: Int, in part: Part) -> (row: Int, column: Int, byteOffset: Int) {
    let columns = part.tensor.shape.columns
    return (
      part.firstRow + element / columns, element % columns, part.range.lowerBound + element * part.dtype.byteCount
    )
  }
}
