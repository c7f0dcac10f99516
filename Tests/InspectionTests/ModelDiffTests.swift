import Inspection
import JSON
import Models
import Pack
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct ModelDiffTests {
  private typealias Vector = (name: String, shape: Shape, values: [Float])

  private func diff(_ a: [Vector], _ b: [Vector], threads: Int = 2) throws -> ModelDiff {
    try withTemporaryDirectory { directory in
      let paths = ["\(directory)/a.safetensors", "\(directory)/b.safetensors"]
      try writeFloats(a, to: paths[0])
      try writeFloats(b, to: paths[1])
      return try ModelDiff(
        InspectedModel(path: paths[0]), InspectedModel(path: paths[1]), threads: threads, kernels: kernels)
    }
  }

  @Test func theSameIsTheSame() throws {
    let tensors: [Vector] = [("a", shape(2), [1, .nan]), ("b", shape(3), [1, 2, 3])]
    let found = try diff(tensors, tensors)
    #expect(found.isSame)
    #expect(found.comparedCount == 2)
  }

  @Test func namesAndShapes() throws {
    let found = try diff(
      [("a", shape(1), [1]), ("c", shape(2), [1, 2]), ("d", shape(1), [1])],
      [("b", shape(1), [1]), ("c", shape(1, 2), [1, 2]), ("d", shape(1), [1])])
    #expect(found.onlyInFirst == ["a"])
    #expect(found.onlyInSecond == ["b"])
    #expect(found.shapes.map { [$0.name, $0.first, $0.second] } == [["c", "[2]", "[1, 2]"]])
    #expect(found.comparedCount == 1)
    #expect(!found.isSame)
  }

  @Test func errorsByHandTheWorstFirst() throws {
    let found = try diff(
      [("a", shape(2), [3, 4]), ("b", shape(2), [3, 4]), ("c", shape(1), [0]), ("d", shape(1), [1])],
      [("a", shape(2), [3, 3]), ("b", shape(2), [0, 4]), ("c", shape(1), [0.5]), ("d", shape(1), [.infinity])])
    #expect(found.numbers.map(\.name) == ["d", "c", "b", "a"])
    #expect(found.numbers.map(\.difference.relativeRMSE) == [0, nil, 0.6, 0.2])
    #expect(found.numbers.map(\.difference.maximumError) == [0, 0.5, 3, 1])
    #expect(found.numbers.map(\.difference.nonFiniteCount) == [1, 0, 0, 0])
  }

  @Test func longRunsWithASingleBadElement() {
    let x = [Float](repeating: 1, count: 100)
    var y = x
    y[17] = .nan
    y[50] = 3
    y[99] = 0
    var difference = ElementDifference()
    difference.add(x.span, y.span)
    #expect(difference.nonFiniteCount == 1)
    #expect(difference.maximumError == 2)
    #expect(difference.squaredError == 5)
    #expect(difference.squaredWeight == 99)
  }

  @Test func aPackAgainstFloats() throws {
    try withTemporaryDirectory { directory in
      let (pack, floats) = (directory + "/p.ingot", directory + "/f.safetensors")
      // Codes 1 and -1 with scale 2, then a plain vector.
      let encoding = Encoding(name: "int4-g32")!
      try writePack(
        [
          RawTensor(
            name: "w", shape: shape(32), encoding: encoding,
            planes: [[UInt8](repeating: 0x79, count: 16), bf16Bytes([2])]),
          RawTensor(name: "v", shape: shape(2), encoding: .f32, planes: [floatBytes([1, 2])]),
        ], to: pack)
      let values = [Float](repeating: 2, count: 16) + [Float](repeating: -1, count: 16)
      try writeFloats([("w", shape(32), values), ("v", shape(2), [1, 2])], to: floats)
      let found = try ModelDiff(
        InspectedModel(path: floats), InspectedModel(path: pack), threads: 1, kernels: kernels)
      #expect(found.types.map { [$0.name, $0.first, $0.second] } == [["w", "f32", "int4-g32"]])
      #expect(found.numbers.map(\.name) == ["w"])
      #expect(found.numbers[0].difference.relativeRMSE == (16.0 / 80).squareRoot())
      #expect(found.numbers[0].difference.maximumError == 1)
      #expect(found.metadata.config.map(\.key) == ["(all)"])
    }
  }

  @Test func configurationsAreComparedByKey() throws {
    try withTemporaryDirectory { directory in
      let vector = RawTensor(name: "v", shape: shape(1), encoding: .f32, planes: [floatBytes([1])])
      let paths = ["\(directory)/a.ingot", "\(directory)/b.ingot"]
      try writePack([vector], config: "{\"z\": 1, \"a\": 2, \"same\": [1]}", to: paths[0])
      try writePack([vector], config: "{\"a\": 3, \"same\": [1], \"new\": null}", to: paths[1])
      let found = try ModelDiff(
        InspectedModel(path: paths[0]), InspectedModel(path: paths[1]), threads: 1, kernels: kernels)
      #expect(found.numbers.isEmpty)
      #expect(found.metadata.config.map(\.key) == ["a", "new", "z"])
      #expect(found.metadata.config.map(\.first) == [2, nil, 1])
      #expect(found.metadata.config.map(\.second) == [3, .null, nil])
      #expect(found.metadata.provenance.isEmpty)
      #expect(found.metadata.files.isEmpty)
    }
  }

  /// Fused experts are found by their published names, so a checkpoint equals itself in another layout.
  @Test func aFusedCheckpointIsTheSame() throws {
    try withTemporaryDirectory { directory in
      let source = try Checkpoint(directory: pico)
      var tensors: [SafetensorsWriter.Tensor] = []
      func bytes(_ name: String) -> [UInt8] {
        guard let (file, entry) = source.tensor(named: name) else { return [] }
        let bytes = file.bytes(of: entry)
        return bytes.array
      }
      for name in source.tensorNames where !name.contains(".experts.") {
        let entry = try #require(source.tensor(named: name)).entry
        tensors.append(.init(name: name, dtype: entry.dtype, shape: entry.shape) { bytes(name) })
      }
      for layer in 1...3 {
        let prefix = "model.layers.\(layer).mlp."
        func stack(_ projections: [String]) -> [UInt8] {
          (0..<16).flatMap { expert in projections.flatMap { bytes("\(prefix)experts.\(expert).\($0).weight") } }
        }
        tensors.append(
          .init(name: prefix + "w1", dtype: .bf16, shape: shape(16, 128, 128)) { stack(["gate_proj", "up_proj"]) })
        tensors.append(.init(name: prefix + "w2", dtype: .bf16, shape: shape(16, 128, 64)) { stack(["down_proj"]) })
      }
      try SafetensorsWriter.write(tensors, to: directory + "/model.safetensors")
      for name in listing(of: pico) where !name.contains("safetensors") && name.contains(".") {
        try write(contents(of: "\(pico)/\(name)"), to: "\(directory)/\(name)")
      }
      let fused = try InspectedModel(path: directory)
      #expect(fused.published?.layout?.name == "fused")
      let found = try ModelDiff(InspectedModel(path: pico), fused, threads: 2, kernels: kernels)
      #expect(found.isSame)
      #expect(found.comparedCount == 189)
      let expert = try fused.tensor(named: "model.layers.2.mlp.experts.3.up_proj.weight")
      #expect(expert.shape == shape(64, 128))
    }
  }
}
