package import Kernels
import Models
import Pack
import Storage
import Tensors

/// Carries a plan out: reads each chunk of the pack once, checks it against its hashes, and puts what is made of it where it belongs.
package struct Exporter: Sendable {
  package let plan: ExportPlan
  package let kernels: KernelSet
  package let threads: Int
  /// Most anonymous memory, in bytes.
  package let peak: Int
  private let window: Int
  private let jobs: [Job]
  private let outputs: BufferPool

  /// One chunk and all that is made of it.
  private struct Job: Sendable {
    let chunk: Int
    /// Bytes of the chunk in the file, for progress.
    let storedLength: Int
    var cells: [Cell]
    var byteCount: Int { cells.reduce(0) { $0 + $1.byteCount } }
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

  /// What a job made: runs of bytes and where they go.
  private struct Made: Sendable {
    let buffer: SharedBuffer
    let runs: [(file: Int, offset: Int, range: Range<Int>)]
    let storedLength: Int
  }

  /// The program itself, and what is known of each tensor and each place in a file.
  private static let program = 20 << 20
  private static let bytesPerTensor = 2200
  private static let bytesPerPiece = 300

  /// - Throws: ``ExportError/memory(needed:limit:)``.
  package init(_ plan: ExportPlan, kernels: KernelSet, threads: Int, memoryLimit: Int) throws(ExportError) {
    self.plan = plan
    self.kernels = kernels
    let (jobs, contentByteCount) = try Self.jobs(plan)
    let outputByteCount = jobs.map(\.byteCount).max() ?? 0
    let known = plan.files.reduce(0) { sum, file in sum + file.known.reduce(0) { $0 + $1.bytes.count } }
    let pieces = plan.files.reduce(0) { $0 + $1.pieces.count }
    let fixed =
      Self.program + Self.bytesPerTensor * plan.source.tensors.count + Self.bytesPerPiece * pieces + known
    // A result waits for its turn without the content that it was made of.
    func needed(_ window: Int) -> Int {
      fixed + window * outputByteCount + min(window, threads + 1) * contentByteCount
    }
    guard needed(1) <= memoryLimit else { throw .memory(needed: needed(1), limit: memoryLimit) }
    window = (1...threads + 2).last { needed($0) <= memoryLimit } ?? 1
    self.threads = min(threads, window)
    peak = needed(window)
    self.jobs = jobs
    outputs = BufferPool(capacity: outputByteCount)
  }

  /// By chunk, in the order of the pack, and the most bytes that unpacking one takes.
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
        file = PendingFile(try OutputFile(path: path, replaces: replaces))
        try file.begin(plan.files[0])
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
          files.append(PendingFile(try directory.file(named: planned.name)))
          try files[files.count - 1].begin(planned)
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
    var done = 0
    try inOrder(
      count: jobs.count, threads: threads, window: window,
      makeWorkspace: { ChunkCodec() },
      work: { (codec, index) -> Result<Made, ExportError> in
        do throws(ExportError) { return .success(try make(jobs[index], codec)) } catch { return .failure(error) }
      },
      consume: { (index, made: Made) throws(ExportError) in
        if isInterrupted() { throw .interrupted }
        do throws(FileError) {
          for run in made.runs {
            try files[run.file].write(made.buffer.bytes.extracting(run.range), at: run.offset)
          }
        } catch { throw .output(error) }
        done += made.storedLength
        progress(done)
      })
    do throws(ModelError) { try plan.source.store.files.requireUnchanged() } catch { throw .model(error) }
  }

  private func make(_ job: Job, _ codec: ChunkCodec) throws(ExportError) -> Made {
    let pack = plan.source.pack
    do throws(PackError) {
      let content = try pack.content(ofChunk: job.chunk, codec: codec, verified: true)
      var buffer = outputs.take(byteCount: job.byteCount)
      var runs: [(file: Int, offset: Int, range: Range<Int>)] = []
      var end = 0
      for cell in job.cells {
        let tensor = plan.source.tensors[cell.source]
        guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
        let (encoding, planes) = try pack.planes(of: record, chunk: cell.position)
        let rows = StoredRows(
          encoding, columns: tensor.shape.columns, count: record.rows(inChunk: cell.position).count, content,
          planes: planes)
        let range = end..<end + cell.byteCount
        var bytes = buffer.mutableBytes
        var out = bytes._mutatingExtracting(range)
        cell.encoder.encode(rows, kernels, into: &out)
        end = range.upperBound
        if let last = runs.last, last.file == cell.file, last.offset + last.range.count == cell.offset {
          runs[runs.count - 1].range = last.range.lowerBound..<end
        } else {
          runs.append((cell.file, cell.offset, range))
        }
      }
      // Read once: what others use stays in the page cache.
      content.release()
      return Made(buffer: buffer.share(), runs: runs, storedLength: job.storedLength)
    } catch { throw .pack(error) }
  }
}

/// A file that is being written.
private final class PendingFile {
  private var output: OutputFile?

  init(_ output: consuming OutputFile) { self.output = consume output }

  /// Takes room for all bytes, and writes those that are known.
  func begin(_ planned: PlannedFile) throws(FileError) {
    try output?.reserve(planned.byteCount)
    try output?.end(at: planned.byteCount)
    for (offset, bytes) in planned.known { try write(bytes.bytes, at: offset) }
  }

  func write(_ bytes: RawSpan, at position: Int) throws(FileError) { try output?.write(bytes, at: position) }

  func commit() throws(FileError) {
    guard let file = output.take() else { return }
    try file.commit()
  }
}
