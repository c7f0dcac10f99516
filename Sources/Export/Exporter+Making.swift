import Dispatch
import Kernels
import Models
import Pack
import Storage
import Tensors

// One chunk: read, looked at, and what is made of it written where it belongs.

extension Exporter {
  /// What was made of a chunk and is to be hashed, in the order of its cells.
  struct Made: Sendable {
    var cells: [(cell: Cell, range: Range<Int>)] = []
    /// Where the ranges are.
    var bytes: SharedBuffer?
  }

  /// - Returns: bytes, and where among them the content is.
  func read(_ job: Job, _ codec: ChunkCodec) throws(ExportError) -> (SharedBytes, Range<Int>) {
    do throws(PackError) {
      let (content, place) = try plan.source.pack.contentOnce(ofChunk: job.chunk, codec: codec, through: file, stored)
      return (content, place)
    } catch { throw .pack(error) }
  }

  /// The rows of a cell.
  ///
  /// - Throws: ``ExportRefusal/values(tensor:_:)`` where its encoder cannot write them.
  func rows(of cell: Cell, in content: SharedBytes, at place: Range<Int>) throws(ExportError) -> StoredRows {
    let tensor = plan.source.tensors[cell.source]
    guard let record = tensor.record else { preconditionFailure("a tensor of a pack") }
    let (encoding, planes): (Encoding, [Range<Int>])
    do throws(PackError) { (encoding, planes) = try plan.source.pack.planes(of: record, chunk: cell.position) } catch {
      throw .pack(error)
    }
    let rows = StoredRows(
      encoding, columns: tensor.shape.columns, count: record.rows(inChunk: cell.position).count, content,
      planes: planes.map { $0.lowerBound + place.lowerBound..<$0.upperBound + place.lowerBound })
    if let obstacle = cell.encoder.obstacle, !cell.encoder.holds(rows, kernels) {
      throw .refused(.values(tensor: tensor.name, obstacle), format: plan.format.name)
    }
    return rows
  }

  /// Makes all that is made of a chunk, and writes it.
  func make(
    _ job: Job, of content: SharedBytes, at place: Range<Int>, _ places: [ScatteredOutput]
  ) throws(ExportError) -> Made {
    var buffer = outputs.take(byteCount: job.byteCount)
    var runs: [(file: Int, offset: Int, range: Range<Int>)] = []
    var made = Made()
    try encode(job, of: content, at: place, into: &buffer, &runs, &made)
    do throws(FileError) {
      for run in runs { try places[run.file].write(buffer.bytes.extracting(run.range), at: run.offset) }
    } catch { throw .output(error) }
    if !made.cells.isEmpty { made.bytes = buffer.share() }
    return made
  }

  private func encode(
    _ job: Job, of content: SharedBytes, at place: Range<Int>, into buffer: inout AlignedBuffer,
    _ runs: inout [(file: Int, offset: Int, range: Range<Int>)], _ made: inout Made
  ) throws(ExportError) {
    encoders.wait()
    defer { encoders.signal() }
    var end = 0
    for cell in job.cells {
      let rows = try rows(of: cell, in: content, at: place)
      let follows = runs.last.map { $0.file == cell.file && $0.offset + $0.range.count == cell.offset } ?? false
      if !follows {
        let page = DirectAccess.alignment
        end = end.roundedUp(to: page) + cell.offset % page
        runs.append((cell.file, cell.offset, end..<end))
      }
      var bytes = buffer.mutableBytes
      var out = bytes._mutatingExtracting(end..<end + cell.byteCount)
      cell.encoder.encode(rows, kernels, into: &out)
      if plan.files[cell.file].seal?.hashesPieces == true { made.cells.append((cell, end..<end + cell.byteCount)) }
      end += cell.byteCount
      runs[runs.count - 1].range = runs[runs.count - 1].range.lowerBound..<end
    }
  }
}
