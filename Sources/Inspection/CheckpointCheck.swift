package import Kernels
import Models
import Quantization
package import Safetensors
import Storage
import Tensors

/// Reads every byte of a checkpoint: the rules of its headers and index, and that every weight is finite; of blocks of codes their scales.
///
/// Reads with `pread` into its own buffers, not through a mapping: a file on failing hardware, or one that shrinks
/// meanwhile, gives an error and no signal.
package struct CheckpointCheck: Sendable {
  /// A tensor with infinities or NaN.
  package struct NonFinite: Sendable, Equatable {
    package let tensor: String
    package let file: String
    /// Element, row and column of the first one, and its byte in the file.
    package let element: Int
    package let row: Int
    package let column: Int
    package let byteOffset: Int

    package init(tensor: String, file: String, element: Int, row: Int, column: Int, byteOffset: Int) {
      self.tensor = tensor
      self.file = file
      self.element = element
      self.row = row
      self.column = column
      self.byteOffset = byteOffset
    }
  }

  package struct Report: Sendable {
    /// The first broken rule of headers or index; nothing else is looked at then.
    package var broken: SafetensorsError?
    package var nonFinite: [NonFinite] = []
    package var tensorCount = 0
    package var fileCount = 0
    package var byteCount = 0
    /// Tensors of types without infinities, or of types that are not scanned.
    package var unscannedCount = 0

    package var isSound: Bool { broken == nil && nonFinite.isEmpty }
  }

  private static let pieceByteCount = 4 << 20

  /// - Parameter progress: called with bytes done and bytes in all.
  /// - Throws: ``InspectionError/source(_:)`` where the system refuses to open or read. Broken rules are reported.
  package static func run(
    path: String, threads: Int, kernels: KernelSet, progress: (Int, Int) -> Void = { _, _ in }
  ) throws(InspectionError) -> Report {
    var report = Report()
    let checkpoint: Checkpoint
    do throws(SafetensorsError) {
      checkpoint =
        try ModelFiles.Kind(of: path) == .checkpoint ? Checkpoint(directory: path) : Checkpoint(file: path)
    } catch {
      if error.rule == .system || error.rule == .noCheckpoint { throw .source(error) }
      report.broken = error
      return report
    }
    var files: [ReadOnlyFile] = []
    var pieces: [Piece] = []
    for (file, shard) in checkpoint.files.enumerated() {
      files.append(ReadOnlyFile(shard.file))
      for tensor in shard.tensors {
        let bits = shard.isGGUF ? GGUFTypes.codeBits(tensor.dtype) : nil
        let block = bits.map(GGUFTypes.codeBlockByteCount(bits:))
        report.unscannedCount += Quantizer.isScanned(tensor.dtype) || block != nil ? 0 : 1
        let each = pieceByteCount - pieceByteCount % (block ?? 1)
        for start in stride(from: tensor.byteRange.lowerBound, to: tensor.byteRange.upperBound, by: each) {
          let end = min(start + each, tensor.byteRange.upperBound)
          pieces.append(Piece(file: file, tensor: tensor, blockByteCount: block, range: start..<end))
        }
      }
      report.tensorCount += shard.tensors.count
      report.byteCount += shard.file.byteCount
    }
    report.fileCount = files.count
    report.nonFinite = try scan(pieces, files, threads: threads, kernels, checkpoint.totalByteCount, progress)
    do throws(FileError) { for file in files { try file.requireUnchanged() } } catch {
      throw .source(SafetensorsError(error))
    }
    return report
  }

  private struct Piece: Sendable {
    let file: Int
    let tensor: TensorEntry
    /// Of a GGUF's blocks of codes, each behind its scale; nil for elements.
    let blockByteCount: Int?
    let range: Range<Int>

    /// The first element that is not finite, or that has such a scale, and the byte of it.
    func firstNotFinite(_ bytes: RawSpan, _ kernels: KernelSet) -> (element: Int, byteOffset: Int)? {
      guard let each = blockByteCount else {
        return Quantizer.firstNotFinite(bytes, dtype: tensor.dtype, kernels: kernels).map { first in
          let width = tensor.dtype.byteCount
          let byteOffset = range.lowerBound + first * width
          return ((byteOffset - tensor.byteRange.lowerBound) / width, byteOffset)
        }
      }
      for start in stride(from: 0, to: bytes.byteCount, by: each) {
        guard !Float16(bitPattern: bytes.integer(at: start)).isFinite else { continue }
        let byteOffset = range.lowerBound + start
        return ((byteOffset - tensor.byteRange.lowerBound) / each * GGUFTypes.blockElementCount, byteOffset)
      }
      return nil
    }
  }

  private static func scan(
    _ pieces: [Piece], _ files: [ReadOnlyFile], threads: Int, _ kernels: KernelSet, _ total: Int,
    _ progress: (Int, Int) -> Void
  ) throws(InspectionError) -> [NonFinite] {
    var found: [NonFinite] = []
    var done = 0
    let buffers = BufferPool(capacity: ReadOnlyFile.bufferByteCount(pieceByteCount))
    try inOrder(
      count: pieces.count, threads: threads, window: 2 * threads, makeWorkspace: {},
      work: { (_, index) -> Result<NonFinite?, InspectionError> in
        let piece = pieces[index]
        do throws(FileError) {
          var buffer = buffers.take()
          let place = try files[piece.file].read(piece.range, into: &buffer)
          let bytes = buffer.bytes.extracting(place)
          guard let (element, byteOffset) = piece.firstNotFinite(bytes, kernels) else { return .success(nil) }
          let columns = piece.tensor.shape.columns
          return .success(
            NonFinite(
              tensor: piece.tensor.name, file: files[piece.file].path, element: element, row: element / columns,
              column: element % columns, byteOffset: byteOffset))
        } catch { return .failure(.source(SafetensorsError(error))) }
      },
      consume: { (index, bad: NonFinite?) throws(InspectionError) in
        // Only the first of a tensor: a diverged one has millions.
        if let bad, found.last?.tensor != bad.tensor { found.append(bad) }
        done += pieces[index].range.count
        progress(done, total)
      })
    return found
  }
}
