import Calibration
import Conversion
import Kernels
import Pack
import Quantization
import Safetensors
import Tensors
import TestSupport
import Testing

/// Quantizing FP8 is quantizing the bf16 that it stands for, bit for bit.
@Suite struct FP8Tests {
  /// All of a pack but its files: config.json and provenance tell the sources apart.
  private struct Weights: Equatable {
    let tensors: [String]
    let chunks: [UInt64]

    init(_ path: String) throws {
      let pack = try PackFile(path: path)
      tensors = try (0..<pack.header.tensorCount).map { index in
        let tensor = try pack.tensor(index)
        return "\(tensor.name) \(tensor.encoding as Any) \(tensor.relativeRMSE) \(tensor.saturatedShare)"
      }
      chunks = try pack.chunks().filter { $0.kind != .file }.map(\.storedHash)
    }
  }

  @Test("in every spelling, whatever the encoding, kernels and threads", arguments: FP8.Spelling.allCases)
  func sameAsDequantized(spelling: FP8.Spelling) throws {
    try withTemporaryDirectory { directory in
      let (fp8, bf16) = (directory + "/fp8", directory + "/bf16")
      try FP8.write("pico", spelling, to: fp8, dequantized: bf16)
      for (experts, rest) in [("int4-g64", "keep"), ("int8-g32s8", "int4-g32"), ("keep", "int8-g64")] {
        let options = try ConversionPlan.Options(experts: experts, rest: rest)
        try convert(bf16, options)
        let wanted = try Weights(bf16 + "/out.ingot")
        for (kernels, threads) in [(KernelSet.best, 3), (KernelSet.available[KernelSet.available.count - 1], 1)] {
          try convert(fp8, options, Run(threads: threads, kernels: kernels))
          #expect(try Weights(fp8 + "/out.ingot") == wanted, "\(experts), \(rest)")
        }
      }
    }
  }

  @Test("what is not finite is reported where it stands: a code, or a scale", arguments: [false, true])
  func notFinite(isScale: Bool) throws {
    let name = "model.layers.2.mlp.experts.5.down_proj.weight"
    try withTemporaryDirectory { directory in
      try FP8.write("pico", .huggingFace, to: directory + "/fp8", dequantized: directory + "/bf16") { tensors in
        for index in tensors.indices {
          if isScale, tensors[index].name == name + "_scale_inv" {
            tensors[index].bytes = elementBytes(.infinity, as: .f32)
          } else if !isScale, tensors[index].name == name {
            tensors[index].bytes[64 * 3 + 7] = 0xFF
          }
        }
      }
      do throws(ConversionError) {
        try convert(directory + "/fp8", try! ConversionPlan.Options(experts: "int4-g64"))
      } catch {
        guard case .notFinite(let tensor, let row, let column, let path, let byteOffset) = error else { throw error }
        let bytes = try contents(of: path)
        #expect(tensor == (isScale ? name + "_scale_inv" : name))
        #expect((row, column) == (isScale ? (0, 0) : (3, 7)))
        #expect(
          isScale ? Array(bytes[byteOffset..<byteOffset + 4]) == [0, 0, 0x80, 0x7F] : bytes[byteOffset] == 0xFF)
        return
      }
      throw TestFailure("accepted")
    }
  }
}
