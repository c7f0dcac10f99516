import Conversion
import Kernels
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct DamagedWeightTests {
  struct Place: Sendable, CustomTestStringConvertible {
    var layout = TinyCheckpoint.Layout.perExpert
    var dtype = DType.bf16
    let tensor: String
    let row: Int
    let column: Int
    let value: Float
    var testDescription: String { "\(value) in \(tensor) as \(dtype), \(layout)" }
  }

  private static let down = "model.layers.1.mlp.experts.3.down_proj.weight"
  private static let up = "model.layers.1.mlp.experts.2.up_proj.weight"
  private static let head = "lm_head.weight"

  private static let places: [Place] = [
    Place(tensor: down, row: 63, column: 31, value: .infinity), Place(tensor: down, row: 0, column: 0, value: .nan),
    Place(layout: .fused, tensor: up, row: 17, column: 33, value: -.infinity),
    Place(layout: .merged, tensor: down, row: 5, column: 30, value: .nan),
    Place(layout: .w13, dtype: .f16, tensor: up, row: 31, column: 63, value: .infinity),
    Place(dtype: .f32, tensor: up, row: 1, column: 2, value: .nan),
    Place(tensor: head, row: 47, column: 63, value: .infinity),
    Place(dtype: .f32, tensor: "model.norm.weight", row: 0, column: 63, value: .nan),
    Place(tensor: "model.layers.1.mlp.gate.expert_bias", row: 0, column: 2, value: -.infinity),
    Place(dtype: .f16, tensor: "model.word_embeddings.weight", row: 11, column: 1, value: .nan),
  ]

  /// The checkpoint with the value put in place.
  private func damaged(_ place: Place) -> TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.layout, tiny.dtype) = (place.layout, place.dtype)
    tiny.change = { tensors in
      // The published bytes, changed, are found again in whatever tensor holds them.
      var published = TinyCheckpoint()
      published.dtype = place.dtype
      guard let tensor = published.published.first(where: { $0.name == place.tensor }) else { return }
      for index in tensors.indices {
        guard let start = tensors[index].bytes.firstRange(of: tensor.bytes)?.lowerBound else { continue }
        let columns = tensor.dimensions.last ?? 1
        let element = start + (place.row * columns + place.column) * tensor.dtype.byteCount
        tensors[index].bytes.replaceSubrange(
          element..<element + tensor.dtype.byteCount, with: elementBytes(place.value, as: tensor.dtype))
        return
      }
    }
    return tiny
  }

  /// Where the value stands in the file.
  private func byteOffset(_ tiny: TinyCheckpoint, _ value: Float) throws -> Int {
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let file = try SafetensorsFile(path: directory + "/model.safetensors")
      let bytes = try contents(of: file.path)
      for entry in file.tensors {
        let numbers = floats(Array(bytes[entry.byteRange]), as: entry.dtype)
        if let element = numbers.firstIndex(where: { $0 == value || $0.isNaN && value.isNaN }) {
          return entry.byteRange.lowerBound + element * entry.dtype.byteCount
        }
      }
      throw TestFailure("the value is not there")
    }
  }

  @Test("what is not finite is reported with tensor, row, column and byte", arguments: places)
  func notFinite(place: Place) throws {
    let tiny = damaged(place)
    let expected = try byteOffset(tiny, place.value)
    for kernels in KernelSet.available {
      for threads in [1, 3] {
        let error = try refusal(
          tiny, ConversionPlan.Options(experts: "int4-g32"), Run(threads: threads, kernels: kernels))
        guard case .notFinite(let tensor, let row, let column, let path, let byteOffset) = error else {
          return #expect(Bool(false), "\(error)")
        }
        #expect(tensor == place.tensor && row == place.row && column == place.column)
        #expect(byteOffset == expected && path.hasSuffix("/model.safetensors"))
      }
    }
  }

  @Test func aWeightWithoutAPortableScaleIsReported() throws {
    let place = Place(dtype: .f32, tensor: Self.up, row: 3, column: 40, value: 1e9)
    let tiny = damaged(place)
    let expected = try byteOffset(tiny, place.value)
    for kernels in KernelSet.available {
      let error = try refusal(tiny, ConversionPlan.Options(experts: "int4-g32"), Run(threads: 2, kernels: kernels))
      guard case .tooLarge(let tensor, 3, 40, _, let byteOffset) = error else {
        return #expect(Bool(false), "\(error)")
      }
      #expect(tensor == place.tensor && byteOffset == expected)
    }
  }

  @Test func aLargeWeightThatIsKeptIsNoError() throws {
    let tiny = damaged(Place(dtype: .f32, tensor: Self.up, row: 3, column: 40, value: 1e9))
    let rules = [Recipe.Rule(match: #"experts\.2\.up"#, choice: .keep)]
    let pack = try packed(tiny, ConversionPlan.Options(rules))
    #expect(pack.bytes.firstRange(of: elementBytes(1e9, as: .f32)) != nil)
  }

  @Test func theFirstDamageInTheOrderOfTheFileIsReportedWhateverTheThreads() throws {
    var tiny = TinyCheckpoint()
    tiny.change = { tensors in
      for index in tensors.indices where tensors[index].name.hasSuffix("_proj.weight") {
        tensors[index].bytes.replaceSubrange(2..<4, with: elementBytes(.nan, as: .bf16))
      }
    }
    for threads in [1, 2, 7, 16] {
      let error = try refusal(tiny, ConversionPlan.Options(experts: "int4-g32"), Run(threads: threads))
      guard case .notFinite("model.layers.0.mlp.gate_proj.weight", 0, 1, _, _) = error else {
        return #expect(Bool(false), "\(error)")
      }
    }
  }
}
