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
  private let jobs: [Job]
  private let file: ReadOnlyFile
  private let outputs: BufferPool
  private let stored: BufferPool
  /// As many as may encode at once.
  private let encoders: DispatchSemaphore

  /// One chunk and all that is made of it.
  private struct Job: Sendable {
    let chunk: Int
    /// Bytes of the chunk in the file, for progress.
    let storedLength: Int
    var cells: [Cell]
    /// What its cells take, each as far from a page as in its file.
    var byteCount: Int { cells.reduce(0) { $0 + $1.byteCount + 2 * DirectAccess.alignment } }
  }

  /// Rows of a tensor that go to one place.
  private struct Cell: Sendable {
    let file: Int
    let offset: Int
    let byteCount: Int
    let source: Int
    /// Of the tensor's chunks.
    let position: Int
    let encoder: any TensorEncoder
  }

  /// The program itself, and what is known of each tensor and each place in a file.
  private static let program = 20 << 20
  private static let bytesPerTensor = 2200
  private static let bytesPerPiece = 300
  /// So many workers more than threads, so that the disk has something to do while all of those encode.
  private static let waiting = 2

  /// - Throws: ``ExportError/memory(needed:limit:)``.
  package init(_ plan: ExportPlan, kernels: KernelSet, threads: Int, memoryLimit: Int) throws(ExportError) {
    self.plan = plan
    self.kernels = kernels
    let (jobs, unpackedByteCount) = try Self.jobs(plan)
    let outputByteCount = jobs.map(\.byteCount).max() ?? 0
    let storedByteCount = ReadOnlyFile.bufferByteCount(jobs.map(\.storedLength).max() ?? 0)
    let known = plan.files.reduce(0) { sum, file in sum + file.known.reduce(0) { $0 + $1.bytes.count } }
    let pieces = plan.files.reduce(0) { $0 + $1.pieces.count }
    let fixed =
      Self.program + Self.bytesPerTensor * plan.source.tensors.count + Self.bytesPerPiece * pieces + known
    func needed(_ workers: Int) -> Int { fixed + workers * (outputByteCount + storedByteCount + unpackedByteCount) }
    guard needed(1) <= memoryLimit else { throw .memory(needed: needed(1), limit: memoryLimit) }
    workers = (1...threads + Self.waiting).last { needed($0) <= memoryLimit } ?? 1
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
      for piece in planned.pieces {
        let tensor = plan.source.tensors[piece.source]
        guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
        for position in 0..<record.chunkCount {
          let rows = record.rows(inChunk: position)
          let start = piece.encoder.byteCount(rows: rows.lowerBound, columns: tensor.shape.columns)
          cells[record.firstChunk + position, default: []].append(
            Cell(
              file: file, offset: piece.offset + (record.chunkCount == 1 ? 0 : start),
              byteCount: piece.encoder.byteCount(rows: rows.count, columns: tensor.shape.columns),
              source: piece.source, position: position, encoder: piece.encoder))
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

  /// Bytes of the pack that are read.
  package var sourceByteCount: Int { jobs.reduce(0) { $0 + $1.storedLength } }

  /// Writes the export.
  ///
  /// - Parameters:
  ///   - path: of the directory, or of the one file.
  ///   - replaces: whether what has the name may be replaced.
  ///   - progress: called with bytes of the pack that are done.
  /// - Throws: ``ExportError``; nothing is left under the final name or beside it.
  package func write(
    to path: String, replaces: Bool, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ExportError) {
    guard plan.isDirectory else {
      let file: PendingFile
      do throws(FileError) {
        file = try PendingFile(OutputFile(path: path, replaces: replaces), plan.files[0])
      } catch { throw .output(error) }
      try make([file], progress, isInterrupted)
      do throws(FileError) { try file.commit() } catch { throw .output(error) }
      return
    }
    let directory: OutputDirectory
    do throws(FileError) { directory = try OutputDirectory(path: path, replaces: replaces) } catch {
      throw .output(error)
    }
    do throws(ExportError) {
      var files: [PendingFile] = []
      for planned in plan.files {
        do throws(FileError) {
          files.append(try PendingFile(directory.file(named: planned.name), planned))
        } catch { throw .output(error) }
      }
      try make(files, progress, isInterrupted)
      do throws(FileError) { for file in files { try file.commit() } } catch { throw .output(error) }
    } catch {
      guard case .output(let failure) = error else { throw error }
      throw .output(directory.named(failure))
    }
    do throws(FileError) { try directory.commit() } catch { throw .output(error) }
  }

  /// Makes everything and writes it where it belongs.
  private func make(
    _ files: [PendingFile], _ progress: (Int) -> Void, _ isInterrupted: () -> Bool
  ) throws(ExportError) {
    AllocatedMemory.giveBackUnused()  // planning made and let go of lists of all tensors
    let places = files.map(\.place)
    var done = 0
    try inOrder(
      count: jobs.count, threads: workers, window: workers, makeWorkspace: { ChunkCodec() },
      work: { (codec, index) -> Result<Int, ExportError> in
        do throws(ExportError) {
          try carryOut(jobs[index], codec, places)
          return .success(jobs[index].storedLength)
        } catch { return .failure(error) }
      },
      consume: { (index, byteCount: Int) throws(ExportError) in
        if isInterrupted() { throw .interrupted }
        done += byteCount
        progress(done)
      })
    do throws(ModelError) { try plan.source.store.files.requireUnchanged() } catch { throw .model(error) }
  }

  /// Reads a chunk, makes all that is made of it, and writes that.
  private func carryOut(_ job: Job, _ codec: ChunkCodec, _ places: [ScatteredOutput]) throws(ExportError) {
    var buffer = outputs.take(byteCount: job.byteCount)
    var runs: [(file: Int, offset: Int, range: Range<Int>)] = []
    do throws(PackError) {
      let pack = plan.source.pack
      let (content, place) = try pack.contentOnce(ofChunk: job.chunk, codec: codec, through: file, stored)
      encoders.wait()
      defer { encoders.signal() }
      var end = 0
      for cell in job.cells {
        let tensor = plan.source.tensors[cell.source]
        guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
        let (encoding, planes) = try pack.planes(of: record, chunk: cell.position)
        let rows = StoredRows(
          encoding, columns: tensor.shape.columns, count: record.rows(inChunk: cell.position).count, content,
          planes: planes.map { $0.lowerBound + place.lowerBound..<$0.upperBound + place.lowerBound })
        let follows = runs.last.map { $0.file == cell.file && $0.offset + $0.range.count == cell.offset } ?? false
        if !follows {
          let page = DirectAccess.alignment
          end = end.roundedUp(to: page) + cell.offset % page
          runs.append((cell.file, cell.offset, end..<end))
        }
        var bytes = buffer.mutableBytes
        var out = bytes._mutatingExtracting(end..<end + cell.byteCount)
        cell.encoder.encode(rows, kernels, into: &out)
        end += cell.byteCount
        runs[runs.count - 1].range = runs[runs.count - 1].range.lowerBound..<end
      }
    } catch { throw .pack(error) }
    do throws(FileError) {
      for run in runs { try places[run.file].write(buffer.bytes.extracting(run.range), at: run.offset) }
    } catch { throw .output(error) }
  }
}

/// A file that is being written.
private final class PendingFile {
  private var output: OutputFile?
  /// Where threads write.
  let place: ScatteredOutput

  /// Takes room for all bytes, and writes those that are known.
  init(_ made: consuming OutputFile, _ planned: PlannedFile) throws(FileError) {
    try made.reserve(planned.byteCount)
    try made.end(at: planned.byteCount)
    for (offset, bytes) in planned.known { try made.write(bytes.bytes, at: offset) }
    place = ScatteredOutput(made)
    output = consume made
  }

  func commit() throws(FileError) {
    guard let file = output.take() else { return }
    try file.commit()
  }
}
