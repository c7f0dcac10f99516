import Kernels
import Quantization
import Storage
import Tensors

/// Encoding of synthetic bf16 weights from memory to memory, beside the rate at which the same bytes are only read.
struct EncodeWorkload {
  private static let laneCount = 2
  private let options: Options
  /// Each lane is what one of two threads works on; a single thread takes both.
  private let lanes: [Lane]

  init(_ options: Options) {
    self.options = options
    let elementCount = options.mebibytes << 20 / 2 / Self.laneCount
    lanes = (0..<Self.laneCount).map { Lane(elementCount: elementCount, seed: UInt64($0)) }
  }

  func run() {
    for kernels in KernelSet.available {
      for threads in 1...Self.laneCount {
        for encoding in Encoding.grouped {
          for solver in Solvers.groupwise {
            guard options.wants("\(encoding) \(solver.name) \(kernels) \(threads)") else { continue }
            measure(encoding, solver, kernels, threads: threads)
          }
        }
      }
    }
  }

  private func measure(_ encoding: Encoding, _ solver: any GroupwiseSolver, _ kernels: KernelSet, threads: Int) {
    // Plain loops take minutes for the whole; a part is enough, as they are far from the limit of memory.
    let elementCount = lanes[0].elementCount / (kernels.name == "scalar" ? 64 : 1)
    let byteCount = elementCount * 2 * Self.laneCount
    let lanes = lanes
    var reads: [Double] = []
    var encodes: [Double] = []
    for _ in 0...options.runs {
      // Turn by turn, so that both meet the same noise.
      reads.append(
        seconds {
          perform(Self.laneCount, threads: threads) { lanes[$0].read(elementCount) }
        })
      encodes.append(
        seconds {
          perform(Self.laneCount, threads: threads) { lanes[$0].encode(elementCount, encoding, solver, kernels) }
        })
    }
    let read = Rates(byteCount: byteCount, seconds: Array(reads.dropFirst()))
    let encode = Rates(byteCount: byteCount, seconds: Array(encodes.dropFirst()))
    var statistics = QuantizationStatistics()
    var checksum: UInt64 = 0
    for lane in lanes {
      statistics += lane.statistics
      checksum &+= lane.checksum(elementCount, encoding)
    }
    print(
      """
      {"workload":"encode","encoding":"\(encoding)","solver":"\(solver.name)","set":"\(kernels)",\
      "threads":\(threads),"shape":[\(elementCount * Self.laneCount / 2048),2048],"bytes":\(byteCount),\
      "runs":\(options.runs),"gb_per_s":\(encode.json),"read_gb_per_s":\(read.json),\
      "share_of_read":\(digits(encode.median / read.median)),"rmse":\(statistics.relativeRMSE),\
      "checksum":\(checksum)}
      """)
  }
}

/// Input and output of one thread.
///
/// `@unchecked`: a lane is used by one thread at a time.
private final class Lane: @unchecked Sendable {
  let elementCount: Int
  private(set) var statistics = QuantizationStatistics()
  /// What reading gave; kept so that reading is not optimised away.
  private(set) var sum: UInt64 = 0
  private let source: AlignedBuffer
  private var codes: AlignedBuffer
  private var scales: AlignedBuffer

  /// Fills the input with roughly normal numbers, so that every page is there before the first pass.
  init(elementCount: Int, seed: UInt64) {
    self.elementCount = elementCount
    codes = AlignedBuffer(byteCount: elementCount)
    scales = AlignedBuffer(byteCount: elementCount / 8)  // more than a byte a group of 16 and one a row
    var buffer = AlignedBuffer(byteCount: elementCount * 2)
    Self.fill(&buffer, with: SyntheticWeights.bf16(count: 1 << 20, seed: seed))
    source = buffer
  }

  private static func fill(_ buffer: inout AlignedBuffer, with piece: [UInt8]) {
    let byteCount = buffer.byteCount
    var bytes = buffer.mutableBytes
    for start in stride(from: 0, to: byteCount, by: piece.count) {
      bytes.write(piece.bytes.extracting(..<min(piece.count, byteCount - start)), at: start)
    }
  }

  /// Of a row, as in the experts of LLaDA2.0-mini.
  private static let columns = 2048

  // Spans are taken in static functions: those of a class's properties cannot leave the access.
  func read(_ count: Int) { sum &+= Self.read(source, count) }

  private static func read(_ source: borrowing AlignedBuffer, _ count: Int) -> UInt64 {
    KernelSet.available[0].readSum(source.bytes.extracting(..<(count * 2)))
  }

  /// Of the codes and scales of the last encoding; the same for all sets.
  func checksum(_ count: Int, _ encoding: Encoding) -> UInt64 {
    Self.read(codes, encoding.codeByteCount(elements: count) / 2)
      &+ Self.read(scales, encoding.scaleByteCount(elements: count, columns: Self.columns) / 2)
  }

  func encode(_ count: Int, _ encoding: Encoding, _ solver: any GroupwiseSolver, _ kernels: KernelSet) {
    statistics = Self.encode(source, count, encoding, solver, kernels, codes: &codes, scales: &scales)
  }

  private static func encode(
    _ source: borrowing AlignedBuffer, _ count: Int, _ encoding: Encoding, _ solver: any GroupwiseSolver,
    _ kernels: KernelSet,
    codes: inout AlignedBuffer, scales: inout AlignedBuffer
  ) -> QuantizationStatistics {
    var allCodes = codes.mutableBytes
    var allScales = scales.mutableBytes
    var to = allCodes._mutatingExtracting(..<encoding.codeByteCount(elements: count))
    var scalesTo = allScales._mutatingExtracting(..<encoding.scaleByteCount(elements: count, columns: Self.columns))
    var statistics = QuantizationStatistics()
    do throws(QuantizationError) {
      try Quantizer.encode(
        source.bytes.extracting(..<(count * 2)), dtype: .bf16, columns: columns, as: encoding, solver: solver,
        kernels: kernels, codes: &to, scales: &scalesTo, adding: &statistics)
      return statistics
    } catch {
      fatalError("\(error)")
    }
  }
}
