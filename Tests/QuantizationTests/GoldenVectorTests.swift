import Kernels
import Quantization
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// `Formats/golden/encodings`, made by the Python definitions: every kernel set must arrive at the same bits.
@Suite struct GoldenVectorTests {
  private static let directory: String = {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/") + "/Formats/golden/encodings/"
  }()

  struct Case: Sendable, CustomTestStringConvertible {
    let encoding: Encoding
    let solver: any GroupwiseSolver
    let kernels: KernelSet
    var testDescription: String { "\(encoding) \(solver.name) \(kernels)" }
  }
  static let cases = Encoding.grouped.flatMap { encoding in
    Solvers.groupwise.flatMap { solver in
      KernelSet.available.map { Case(encoding: encoding, solver: solver, kernels: $0) }
    }
  }

  @Test("codes, scales and errors are those of the Python definitions", arguments: cases)
  func encode(_ golden: Case) throws {
    let inputs = try SafetensorsFile(path: Self.directory + "inputs.safetensors")
    let expected = try SafetensorsFile(path: Self.directory + "\(golden.encoding)-\(golden.solver.name).safetensors")
    let refused = Set((expected.metadata["refused"] ?? "").split(separator: " ").map(String.init))
    let statistics = try doubles(expected, "statistics")
    var row = 0
    for input in inputs.tensors.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      let elements = input.shape.elementCount
      var codes = AlignedBuffer(byteCount: golden.encoding.codeByteCount(elements: elements))
      var scales = AlignedBuffer(
        byteCount: golden.encoding.scaleByteCount(elements: elements, columns: input.shape.columns))
      let found = encode(inputs, input, golden, &codes, &scales)
      guard let found else {
        #expect(refused.contains(input.name), "\(input.name) is refused")
        continue
      }
      #expect(!refused.contains(input.name), "\(input.name) is not refused")
      #expect(codes.bytes.array == (try bytes(expected, input.name + ".codes")), "\(input.name)")
      #expect(scales.bytes.array == (try bytes(expected, input.name + ".scales")), "\(input.name)")
      // Σ (x − y)², Σ x², relative RMSE, saturated codes, saturated share; both ratios in binary64
      let wanted = statistics[5 * row..<5 * row + 5]
      if golden.encoding.codes?.scale == .byte {
        let clamped = try doubles(expected, "clamped")
        #expect(Double(found.clampedGroups) == clamped[row], "\(input.name)")
      }
      #expect(
        [found.squaredError, found.squaredWeight, Double(found.saturated)] == [0, 1, 3].map { wanted[5 * row + $0] })
      #expect(
        [found.relativeRMSE, found.saturatedShare] == [2, 4].map { Float(wanted[5 * row + $0]) }, "\(input.name)")
      row += 1
    }
    #expect(row * 5 == statistics.count)
  }

  private func encode(
    _ inputs: SafetensorsFile, _ input: TensorEntry, _ golden: Case, _ codes: inout AlignedBuffer,
    _ scales: inout AlignedBuffer
  ) -> QuantizationStatistics? {
    var codeBytes = codes.mutableBytes
    var scaleBytes = scales.mutableBytes
    var statistics = QuantizationStatistics()
    do throws(QuantizationError) {
      try Quantizer.encode(
        inputs.bytes(of: input), dtype: input.dtype, columns: input.shape.columns, as: golden.encoding,
        solver: golden.solver, kernels: golden.kernels, codes: &codeBytes, scales: &scaleBytes, adding: &statistics)
      return statistics
    } catch { return nil }
  }

  @Test("decoded numbers are those of the Python definitions", arguments: KernelSet.available)
  func decode(_ kernels: KernelSet) throws {
    let file = try SafetensorsFile(path: Self.directory + "decode.safetensors")
    for (kind, row) in [
      ("f16", ""), ("bf16", ""), ("int8-g32", ""), ("int4-g32", ""), ("int8-g32s8", ".0"), ("int8-g32s8", ".1"),
      ("int4-g16s8", ".0"), ("int4-g16s8", ".1"),
    ] {
      let encoding = try #require(Encoding(name: kind))
      let stem = "\(encoding.kind)\(row)"
      let wanted = try bytes(file, stem + ".decoded")
      let codes = try bytes(file, stem + (encoding.isGrouped ? ".codes" : ".elements"))
      let scales = encoding.isGrouped ? try bytes(file, stem + ".scales") : []
      var decoded = [Float](repeating: 0, count: wanted.count / 4)
      decode(codes, scales, encoding, kernels, &decoded)
      let found = decoded.map(\.bitPattern)
      #expect(found == (0..<found.count).map { wanted.bytes.integer(at: 4 * $0) }, "\(kind)")
    }
  }

  private func decode(
    _ codes: [UInt8], _ scales: [UInt8], _ encoding: Encoding, _ kernels: KernelSet, _ y: inout [Float]
  ) {
    let count = y.count
    var span = y.mutableSpan
    // One row each.
    Quantizer.decode(
      codes: codes.bytes, scales: scales.bytes, as: encoding, columns: count, kernels: kernels, into: &span)
  }

  private func bytes(_ file: SafetensorsFile, _ name: String) throws -> [UInt8] {
    let entry = try #require(file[name], "\(name)")
    return file.bytes(of: entry).array
  }

  private func doubles(_ file: SafetensorsFile, _ name: String) throws -> [Double] {
    let raw = try bytes(file, name)
    return (0..<raw.count / 8).map { Double(bitPattern: raw.bytes.integer(at: 8 * $0)) }
  }
}
