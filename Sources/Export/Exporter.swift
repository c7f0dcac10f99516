import Dispatch
package import Kernels
import Models
import Pack
import Storage
import Tensors

/// Carries a plan out: reads each chunk of the pack once, checks it against its hashes, and puts what is made of it where it belongs.
package struct Exporter: Sendable {
  package let plan: ExportPlan
  package let kernels: KernelSet
  /// Threads that encode.
  package let threads: Int
  /// Most anonymous memory, in bytes.
  package let peak: Int
  private let workers: Int
  let jobs: [Job]
  let file: ReadOnlyFile
  let outputs: BufferPool
  let stored: BufferPool
  /// As many as may encode at once.
  let encoders: DispatchSemaphore

  /// One chunk and all that is made of it.
  struct Job: Sendable {
    let chunk: Int
    /// Bytes of the chunk in the file, for progress.
    let storedLength: Int
    var cells: [Cell]
    /// Cells whose encoders cannot write everything.
    var obstacles: [Cell] { cells.filter { $0.encoder.obstacle != nil } }
    /// What its cells take, each as far from a page as in its file.
    var byteCount: Int { cells.reduce(0) { $0 + $1.byteCount + 2 * DirectAccess.alignment } }
  }

  /// Rows of a tensor that go to one place.
  struct Cell: Sendable {
    let file: Int
    /// Place among the pieces of the file.
    let piece: Int
    let offset: Int
    let byteCount: Int
    /// Whether it ends its piece.
    let isLast: Bool
    let source: Int
    /// Of the tensor's chunks.
    let position: Int
    let encoder: any TensorEncoder
  }

  /// The same without the program, beside another budget that has it.
  package var peakBeside: Int { peak - Self.program }

  /// The program itself, and what is known of each tensor and each place in a file.
  private static let program = 20 << 20
  private static let bytesPerTensor = 2200
  private static let bytesPerPiece = 300
  /// So many workers more than threads, so that the disk has something to do while all of those encode.
  private static let waiting = 2

  /// - Parameter isFed: whether chunks come from elsewhere, one after the other, instead of from the file of the pack.
  /// - Throws: ``ExportError/memory(needed:limit:)``.
  package init(
    _ plan: ExportPlan, kernels: KernelSet, threads: Int, memoryLimit: Int, isFed: Bool = false
  ) throws(ExportError) {
    self.plan = plan
    self.kernels = kernels
    let (jobs, unpackedByteCount) = try Self.jobs(plan)
    let outputByteCount = jobs.map(\.byteCount).max() ?? 0
    let storedByteCount = ReadOnlyFile.bufferByteCount(jobs.map(\.storedLength).max() ?? 0)
    // What seals a file is made once to know its length, and again with all digests.
    let known = plan.files.reduce(0) { sum, file in
      sum + file.known.reduce(0) { $0 + $1.bytes.count }
        + 2 * (file.seal?.byteCount ?? 0)
    }
    let pieces = plan.files.reduce(0) { $0 + $1.pieces.count }
    let fixed =
      Self.program + Self.bytesPerTensor * plan.source.tensors.count + Self.bytesPerPiece * pieces + known
    func needed(_ workers: Int) -> Int { fixed + workers * (outputByteCount + storedByteCount + unpackedByteCount) }
    guard needed(1) <= memoryLimit else { throw .memory(needed: needed(1), limit: memoryLimit) }
    workers = isFed ? 1 : (1...threads + Self.waiting).last { needed($0) <= memoryLimit } ?? 1
    self.threads = min(threads, workers)
    peak = needed(workers)
    self.jobs = jobs
    file = ReadOnlyFile(plan.source.pack.mapping)
    outputs = BufferPool(capacity: outputByteCount)
    stored = BufferPool(capacity: storedByteCount)
    encoders = DispatchSemaphore(value: self.threads)
  }

  /// By chunk, in the order of the pack, and what unpacking one takes at most.
  private static func jobs(_ plan: ExportPlan) throws(ExportError) -> ([Job], Int) {
    let chunks: [ChunkRecord]
    do throws(PackError) { chunks = try plan.source.pack.chunks() } catch { throw .pack(error) }
    var cells: [Int: [Cell]] = [:]
    for (file, planned) in plan.files.enumerated() {
      for (number, piece) in planned.pieces.enumerated() {
        let tensor = plan.source.tensors[piece.source]
        guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
        for position in 0..<record.chunkCount {
          let rows = record.rows(inChunk: position)
          let start = piece.encoder.byteCount(rows: rows.lowerBound, columns: tensor.shape.columns)
          cells[record.firstChunk + position, default: []].append(
            Cell(
              file: file, piece: number, offset: piece.offset + (record.chunkCount == 1 ? 0 : start),
              byteCount: piece.encoder.byteCount(rows: rows.count, columns: tensor.shape.columns),
              isLast: position == record.chunkCount - 1, source: piece.source, position: position,
              encoder: piece.encoder))
        }
      }
    }
    let jobs = cells.keys.sorted().map { chunk in
      Job(
        chunk: chunk, storedLength: chunks[chunk].storedLength,
        cells: (cells[chunk] ?? []).sorted { ($0.file, $0.offset) < ($1.file, $1.offset) })
    }
    let unpacked = jobs.map { chunks[$0.chunk] }.filter { $0.codec == .zstd }.map(\.contentLength).max() ?? 0
    // The content and the split copy of it.
    return (jobs, 2 * unpacked)
  }

  /// Bytes of the pack that are read, and once more those that are looked at before.
  package var sourceByteCount: Int {
    jobs.reduce(0) { $0 + $1.storedLength * ($1.obstacles.isEmpty ? 1 : 2) }
  }

  /// Writes the export of a pack.
  ///
  /// - Parameters:
  ///   - path: of the directory, or of the one file.
  ///   - replaces: whether what has the name may be replaced.
  ///   - progress: called with bytes of the pack that are done.
  /// - Throws: ``ExportError``; nothing is left under the final name or beside it.
  package func write(
    to path: String, replaces: Bool, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ExportError) {
    let looked = try look(progress: progress, isInterrupted: isInterrupted)
    let writer = try ExportWriter(self, to: path, replaces: replaces)
    AllocatedMemory.giveBackUnused()  // planning made and let go of lists of all tensors
    let places = writer.places
    try writer.named { () throws(ExportError) in
      try forEach(jobs, progress, isInterrupted, from: looked) { (job, codec) throws(ExportError) in
        let (content, place) = try read(job, codec)
        return try make(job, of: content, at: place, places)
      } _: {
        writer.add($0)
      }
    }
    let rootHash: UInt64
    do throws(PackError) { rootHash = try plan.source.pack.headerWithoutReport.rootHash } catch { throw .pack(error) }
    try writer.commit(rootHash: rootHash)
  }

  /// Looks at what may hold numbers that the format cannot, before anything is written.
  ///
  /// - Returns: bytes of the pack that were read.
  /// - Throws: ``ExportRefusal/values(tensor:_:)`` for the first tensor that does.
  @discardableResult
  package func look(progress: (Int) -> Void, isInterrupted: () -> Bool) throws(ExportError) -> Int {
    let jobs = jobs.filter { !$0.obstacles.isEmpty }
    try forEach(jobs, progress, isInterrupted) { (job, codec) throws(ExportError) in
      let (content, place) = try read(job, codec)
      encoders.wait()
      defer { encoders.signal() }
      for cell in job.obstacles { _ = try rows(of: cell, in: content, at: place) }
    } _: { _ in
    }
    return jobs.reduce(0) { $0 + $1.storedLength }
  }

  /// What is made of a chunk; nil where nothing is.
  func job(ofChunk chunk: Int) -> Job? {
    // Jobs are in the order of their chunks, and there are no more of them.
    var index = min(chunk, jobs.count - 1)
    while index >= 0, jobs[index].chunk > chunk { index -= 1 }
    return index >= 0 && jobs[index].chunk == chunk ? jobs[index] : nil
  }

  /// Does some jobs on all threads, and hands over what they come to in order.
  ///
  /// - Parameter start: bytes that are done before.
  private func forEach<Made: Sendable>(
    _ jobs: [Job], _ progress: (Int) -> Void, _ isInterrupted: () -> Bool, from start: Int = 0,
    _ work: @escaping @Sendable (Job, ChunkCodec) throws(ExportError) -> Made, _ take: (Made) -> Void
  ) throws(ExportError) {
    var done = start
    try inOrder(
      count: jobs.count, threads: workers, window: workers, makeWorkspace: { ChunkCodec() },
      work: { (codec, index) -> Result<Made, ExportError> in
        do throws(ExportError) { return .success(try work(jobs[index], codec)) } catch { return .failure(error) }
      },
      consume: { (index, made: Made) throws(ExportError) in
        if isInterrupted() { throw .interrupted }
        take(made)
        done += jobs[index].storedLength
        progress(done)
      })
    do throws(ModelError) { try plan.source.store.files.requireUnchanged() } catch { throw .model(error) }
  }
}
