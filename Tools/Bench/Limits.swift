import Glibc
import Kernels
import Storage
import Synchronization

/// What the machine can do at best, measured in the run that is compared with it.
struct Limits {
  private static let pieceByteCount = 4 << 20
  private let memory: [SharedBuffer]

  init(mebibytes: Int) { memory = (0..<2).map { _ in Self.filled(mebibytes << 19) } }

  /// Memory whose pages are all there and differ.
  static func filled(_ byteCount: Int) -> SharedBuffer {
    var buffer = AlignedBuffer(byteCount: byteCount)
    let piece = SyntheticWeights.bf16(count: 1 << 20, seed: 7)
    var bytes = buffer.mutableBytes
    for start in stride(from: 0, to: byteCount, by: piece.count) {
      bytes.write(piece.bytes.extracting(..<min(piece.count, byteCount - start)), at: start)
    }
    return buffer.share()
  }

  private var memoryByteCount: Int { memory.reduce(0) { $0 + $1.byteCount } }

  /// Bytes a second that two threads read from memory.
  func reading() -> Double { rate { KernelSet.available[0].readSum($0) } }

  /// Bytes a second that one thread reads from memory.
  func readingAlone() -> Double {
    let buffer = memory[0]
    return Double(buffer.byteCount) / seconds { _ = KernelSet.available[0].readSum(buffer.bytes) }
  }

  /// Operations a second, two for each multiply-add, of OpenBLAS on two threads with large matrices in fp32.
  func multiplying() throws(OpenBLAS.Missing) -> Double {
    let blas = try OpenBLAS()
    let size = 2048
    let weights = (0..<size * size).map { Float($0 % 61 - 30) / 64 }
    let x = [Float](repeating: 0.5, count: size * size)
    var y = [Float](repeating: 0, count: size * size)
    let time = seconds {
      blas.multiply(weights, rows: size, columns: size, x: x, tokens: size, into: &y, threads: 2)
    }
    return 2 * Double(size) * Double(size) * Double(size) / time
  }

  /// Bytes a second that two threads hash from memory.
  func hashing() -> Double { rate { KernelSet.best.xxh3($0) } }

  private func rate(_ body: @Sendable (RawSpan) -> UInt64) -> Double {
    let memory = memory
    let time = seconds {
      perform(2, threads: 2) { lane in
        let buffer = memory[lane]
        _ = body(buffer.bytes)
      }
    }
    return Double(memoryByteCount) / time
  }

  /// Seconds in which two threads read a file into buffers that they use again, from the page cache or past it.
  func reading(_ file: ReadOnlyFile) throws(FileError) -> Double {
    let count = (file.byteCount + Self.pieceByteCount - 1) / Self.pieceByteCount
    let next = Atomic<Int>(0)
    let failure = Mutex<FileError?>(nil)
    let time = seconds {
      perform(2, threads: 2) { _ in
        var buffer = AlignedBuffer(byteCount: ReadOnlyFile.bufferByteCount(Self.pieceByteCount))
        while true {
          let start = next.add(1, ordering: .relaxed).oldValue * Self.pieceByteCount
          guard start < count * Self.pieceByteCount else { return }
          do throws(FileError) {
            _ = try file.read(start..<min(start + Self.pieceByteCount, file.byteCount), into: &buffer)
          } catch { failure.withLock { $0 = error } }
        }
      }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
    return time
  }

  /// Seconds to write so many bytes beside `path`, past the page cache, synced, and meanwhile to read the files, if any.
  func transfer(write byteCount: Int, beside path: String, read files: [MappedFile] = []) throws(FileError) -> Double {
    let pieces = files.flatMap { file in
      stride(from: 0, to: file.byteCount, by: Self.pieceByteCount).map { start in
        (file, start..<min(start + Self.pieceByteCount, file.byteCount))
      }
    }
    let next = Atomic<Int>(0)
    let failure = Mutex<FileError?>(nil)
    let time = seconds {
      perform(3, threads: 3) { lane in
        do throws(FileError) {
          guard lane > 0 else { return try Self.write(byteCount, to: path + ".limit") }
          var buffer = AlignedBuffer(byteCount: DirectFile.bufferByteCount(Self.pieceByteCount))
          while true {
            let index = next.add(1, ordering: .relaxed).oldValue
            guard index < pieces.count else { return }
            _ = try pieces[index].0.direct()?.read(pieces[index].1, into: &buffer)
          }
        } catch { failure.withLock { $0 = error } }
      }
    }
    unsafe _ = unlink(path + ".limit")
    if let failure = failure.withLock({ $0 }) { throw failure }
    return time
  }

  private static func write(_ byteCount: Int, to path: String) throws(FileError) {
    guard byteCount > 0 else { return }
    let piece = filled(pieceByteCount)
    var output = try SequentialOutput(
      OutputFile(path: path), depth: SequentialOutput.usefulDepth, byteCount: byteCount)
    while output.end < byteCount {
      let length = min(piece.byteCount, byteCount - output.end)
      try output.append(piece, byteCount: length, at: output.end)
    }
    try output.finish().commit()
  }
}
