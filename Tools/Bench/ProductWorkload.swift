import Kernels
import Storage
import Tensors

/// Products of a few activations with many matrices of the shapes of LLaDA2.0-mini's experts, which together are larger
/// than the caches, beside the rates of plain reading and of plain arithmetic.
struct ProductWorkload {
  private static let expertCount = 256
  private static let shapes = [(rows: 512, columns: 2048), (rows: 2048, columns: 512)]
  private static let formats: [WeightFormat] =
    Encoding.grouped.map { WeightFormat($0) } + [.float(.bf16), .float(.f16), .float(.f32)]

  private let options: Options
  /// Any bytes do as codes; as bf16 these are weights, and as f16 and f32 they are at least finite.
  private let planes: Planes

  init(_ options: Options) {
    self.options = options
    planes = Planes(byteCount: options.mebibytes << 20)
  }

  func run() {
    for kernels in KernelSet.available {
      for format in Self.formats {
        for shape in Self.shapes {
          for tokens in [1, 2, 4, 8, 16, 32, 128, 512] {
            for threads in 1...2 {
              let title = "\(format) \(shape.rows)x\(shape.columns) \(tokens)t \(kernels) \(threads)"
              guard options.wants(title) else { continue }
              measure(format, shape.rows, shape.columns, tokens, kernels, threads)
            }
          }
        }
      }
    }
  }

  private func measure(
    _ format: WeightFormat, _ rows: Int, _ columns: Int, _ tokens: Int, _ kernels: KernelSet, _ threads: Int
  ) {
    let codeByteCount = rows * format.rowByteCount(columns: columns)
    let byteCount = codeByteCount + rows * format.rowScaleByteCount(columns: columns)
    let most = min(Self.expertCount, planes.byteCount / codeByteCount)
    let count = kernels.name == "scalar" ? min(most, 4) : most
    let x = (0..<tokens * columns).map { Float($0 % 17 - 8) / 8 }
    var y = [Float](repeating: 0, count: tokens * rows)
    let numbers = (0..<rows * columns).map { Float($0 % 61 - 30) / 64 }
    var other = y
    var reads: [Double] = []
    var products: [Double] = []
    var int8Products: [Double] = []
    var blasProducts: [Double] = []
    var arithmetic: [Double] = []
    for _ in 0...options.runs {
      // Turn by turn, so that all meet the same noise.
      reads.append(seconds { planes.read(count * codeByteCount, threads: threads) })
      arithmetic.append(
        seconds { perform(threads, threads: threads) { _ in _ = kernels.multiplyAndAdd(rounds: Self.rounds) } })
      products.append(
        seconds {
          planes.multiply(
            format, rows, columns, x, tokens: tokens, into: &y, kernels: kernels, threads: threads, count: count)
        })
      if case .float(.f32) = format, tokens > 32, let blas = try? OpenBLAS() {
        blasProducts.append(
          seconds {
            // The same numbers each time, which may stay in a cache.
            for _ in 0..<count {
              blas.multiply(numbers, rows: rows, columns: columns, x: x, tokens: tokens, into: &other, threads: threads)
            }
          })
      }
      guard case .codes(let codes) = format else { continue }
      int8Products.append(
        seconds {
          planes.multiplyInt8(
            codes, rows, columns, x, tokens: tokens, into: &other, kernels: kernels, threads: threads, count: count)
        })
    }
    let operations = 2 * rows * columns * tokens * count
    let read = Rates(byteCount: count * codeByteCount, seconds: Array(reads.dropFirst()))
    let fma = Rates(
      byteCount: kernels.multiplyAndAdd(rounds: Self.rounds) * threads, seconds: Array(arithmetic.dropFirst()))
    let kinds = [("fp32", products, y), ("int8", int8Products, other), ("blas", blasProducts, other)]
    for (name, times, result) in kinds where !times.isEmpty {
      let product = Rates(byteCount: count * byteCount, seconds: Array(times.dropFirst()))
      let rate = Rates(byteCount: operations, seconds: Array(times.dropFirst()))
      print(
        """
        {"workload":"product","format":"\(format)","activations":"\(name)","set":"\(kernels)","threads":\(threads),\
        "shape":[\(rows),\(columns)],"tokens":\(tokens),"matrices":\(count),"bytes":\(count * byteCount),\
        "runs":\(options.runs),"us_per_matrix":\(digits(Double(byteCount) / product.median / 1000)),\
        "gb_per_s":\(product.json),"gflop_per_s":\(rate.json),"read_gb_per_s":\(read.json),\
        "fma_gflop_per_s":\(fma.json),"share_of_read":\(digits(product.median / read.median)),\
        "share_of_fma":\(digits(rate.median / fma.median)),\
        "checksum":\(digits(result.reduce(0) { $0 + Double($1) }))}
        """)
    }
  }

  private static let rounds = 1 << 20
}

/// The bytes of all matrices, and scales for them.
final class Planes: Sendable {
  let byteCount: Int
  private let weights: SharedBuffer
  private let wideScales: SharedBuffer
  /// Bytes that are moderate both as a row's base and as a scale: those of numbers would be infinite bases.
  private let byteScales: SharedBuffer

  init(byteCount: Int) {
    self.byteCount = byteCount
    weights = Self.filled(byteCount)
    wideScales = Self.filled(1 << 20)
    var bytes = AlignedBuffer(byteCount: 1 << 20)
    var all = bytes.mutableBytes
    all.write((0..<1 << 20).map { 0x60 | UInt8($0 % 16) }.bytes, at: 0)
    byteScales = bytes.share()
  }

  static func filled(_ byteCount: Int) -> SharedBuffer {
    var buffer = AlignedBuffer(byteCount: byteCount)
    let piece = SyntheticWeights.bf16(count: 1 << 20, seed: 1)
    var bytes = buffer.mutableBytes
    for start in stride(from: 0, to: byteCount, by: piece.count) {
      bytes.write(piece.bytes.extracting(..<min(piece.count, byteCount - start)), at: start)
    }
    return buffer.share()
  }

  func read(_ count: Int, threads: Int) {
    Parallel.rows(count: count, threads: threads, multiple: 4096) { range in
      let weights = self.weights
      _ = KernelSet.available[0].readSum(weights.bytes.extracting(range))
    }
  }

  func multiply(
    _ format: WeightFormat, _ rows: Int, _ columns: Int, _ x: [Float], tokens: Int, into y: inout [Float],
    kernels: KernelSet, threads: Int, count: Int
  ) {
    let numbers = x.span
    var out = y.mutableSpan
    for index in 0..<count {
      let (codes, scales) = places(index, format, rows, columns)
      let weights = self.weights
      let allScales = self.scales(of: format)
      kernels.multiply(
        weights.bytes.extracting(codes), scales: allScales.bytes.extracting(scales), as: format, rows: rows,
        columns: columns, x: numbers, tokens: tokens, into: &out, stride: rows, threads: threads)
    }
  }

  /// The same with activations rounded to int8, anew for each matrix.
  func multiplyInt8(
    _ format: CodeFormat, _ rows: Int, _ columns: Int, _ x: [Float], tokens: Int, into y: inout [Float],
    kernels: KernelSet, threads: Int, count: Int
  ) {
    let numbers = x.span
    var out = y.mutableSpan
    for index in 0..<count {
      let (codes, scales) = places(index, .codes(format), rows, columns)
      let weights = self.weights
      let allScales = self.scales(of: .codes(format))
      let x = kernels.int8Activations(numbers, tokens: tokens, columns: columns, groupSize: format.groupSize)
      kernels.multiply(
        weights.bytes.extracting(codes), scales: allScales.bytes.extracting(scales), as: format, rows: rows, x: x,
        into: &out, stride: rows, threads: threads)
    }
  }

  private func scales(of format: WeightFormat) -> SharedBuffer {
    if case .codes(let codes) = format, codes.scale == .byte { byteScales } else { wideScales }
  }

  /// Where the planes of a matrix lie. Scales go round in 1 MiB: a tenth of the bytes at most.
  private func places(
    _ index: Int, _ format: WeightFormat, _ rows: Int, _ columns: Int
  ) -> (codes: Range<Int>, scales: Range<Int>) {
    let codeByteCount = rows * format.rowByteCount(columns: columns)
    let scaleByteCount = rows * format.rowScaleByteCount(columns: columns)
    let scaleStart = index * scaleByteCount % (wideScales.byteCount - scaleByteCount + 2)
    return (
      index * codeByteCount..<(index + 1) * codeByteCount, scaleStart..<scaleStart + scaleByteCount
    )
  }
}
