import Inspection
import Models
import Pack
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct InspectedModelTests {
  private let vector = RawTensor(name: "v", shape: shape(1), encoding: .f32, planes: [floatBytes([1])])

  @Test func anUnknownEncodingIsListedAndNotDecoded() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      let codes = [UInt8](repeating: 0x88, count: 16)
      try writePack(
        [
          vector,
          RawTensor(
            name: "w", shape: shape(32), encoding: Encoding(name: "int4-g32")!, planes: [codes, bf16Bytes([0])]),
        ], to: path)
      try giveEncoding(4711, groupSize: 32, toTensor: 1, path)
      let model = try InspectedModel(path: path)
      #expect(model.tensors.map { "\($0.name) \($0.type)" } == ["v f32", "w opaque-4711-g32"])
      #expect(model.tensors[1].byteCount == 66)
      let error = #expect(throws: InspectionError.self) {
        try TensorStatistics(of: model.tensors[1], in: model, kernels: kernels)
      }
      #expect(error == .pack(.unknownEncoding(id: 4711, groupSize: 32, tensor: "w", path: path)))
    }
  }

  /// Changes a record and makes the hashes right again, as a newer writer would have.
  private func giveEncoding(_ id: UInt16, groupSize: UInt16, toTensor index: Int, _ path: String) throws {
    var bytes = try contents(of: path)
    let old = try PackFile(path: path).header
    let record = old.tablesOffset + 64 * old.chunkCount + 96 * index
    bytes[record + 6] = UInt8(id & 0xFF)
    bytes[record + 7] = UInt8(id >> 8)
    bytes[record + 8] = UInt8(groupSize)
    let tables = Array(bytes[old.tablesOffset...])
    var header = PackHeader(
      requiredFeatures: old.requiredFeatures, tablesOffset: old.tablesOffset, tablesHash: XXH3.hash(tables.bytes),
      chunkCount: old.chunkCount, tensorCount: old.tensorCount, fileCount: old.fileCount,
      stringsLength: old.stringsLength)
    header.writeVersion = PackHeader.writerVersion + 1
    try write(header.encoded() + bytes[PackHeader.byteCount...], to: path)
  }

  @Test func damagedTablesAreRefused() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      try writePack([vector], to: path)
      var bytes = try contents(of: path)
      bytes[bytes.count - 70] ^= 1
      try write(bytes, to: path)
      let error = #expect(throws: InspectionError.self) { try InspectedModel(path: path) }
      guard case .pack(.broken(let violation, _)) = error else { throw TestFailure("\(error as Any)") }
      #expect(violation.rule == .tablesHash)
    }
  }

  @Test func aCheckpointWithoutAKnownModelIsListed() throws {
    try withTemporaryDirectory { directory in
      try SafetensorsWriter.write(
        [.init(name: "x", dtype: .i64, shape: shape(2)) { [UInt8](repeating: 0, count: 16) }],
        to: directory + "/model.safetensors")
      var model = try InspectedModel(path: directory)
      #expect(model.kind == .checkpoint)
      #expect(model.description.modelType == nil)
      #expect(model.tensors.map { "\($0.name) \($0.type)" } == ["x i64"])
      let error = #expect(throws: InspectionError.self) {
        try TensorStatistics(of: model.tensors[0], in: model, kernels: kernels)
      }
      #expect(error == .notDecodable(tensor: "x", type: "I64", path: directory))

      try write(Array("{\"model_type\": \"gpt2\", \"num_hidden_layers\": 3}".utf8), to: directory + "/config.json")
      model = try InspectedModel(path: directory)
      #expect(model.description.modelType == "gpt2")
      #expect(model.description.layerCount == 3)
      #expect(!model.description.isSupported)
      try write(Array("not JSON".utf8), to: directory + "/config.json")
      #expect(try InspectedModel(path: directory).description.modelType == nil)
    }
  }

  @Test func sizesAddUp() throws {
    let sizes = ModelSizes(try InspectedModel(path: pico))
    #expect(sizes.parameterCount == 1_768_880)
    #expect(sizes.experts?.parameterCount == 1_179_648)
    #expect(sizes.expertBitsPerWeight == 16)
    #expect(sizes.overheadByteCount + sizes.classes.reduce(0) { $0 + $1.byteCount } == sizes.fileByteCount)
    #expect(
      sizes.classes.map(\.name) == [
        "embedding", "head", "attention", "dense MLP", "shared expert", "router", "norm", "expert",
      ])
  }

  @Test func nonFiniteWeightsAreFound() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.safetensors"
      try writeFloats(
        [("a", shape(2, 3), [0, 1, 2, 3, .nan, .infinity]), ("b", shape(1), [1])], to: path)
      let report = try CheckpointCheck.run(path: path, threads: 2, kernels: kernels)
      let header = try SafetensorsFile(path: path).headerByteCount
      #expect(!report.isSound)
      #expect(
        report.nonFinite == [
          .init(tensor: "a", file: path, element: 4, row: 1, column: 1, byteOffset: header + 16)
        ])
      #expect(try CheckpointCheck.run(path: pico, threads: 2, kernels: kernels).isSound)
    }
  }

  @Test func brokenHeadersAreReported() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.safetensors"
      try writeFloats([("a", shape(4), [1, 2, 3, 4])], to: path)
      try write(Array(contents(of: path).dropLast(3)), to: path)
      #expect(try CheckpointCheck.run(path: path, threads: 1, kernels: kernels).broken?.rule == .dataOutsideFile)
    }
  }

  @Test func numpyHeaders() throws {
    let header = NumpyFile.header(shape(640, 128))
    #expect(header.count == 128)
    #expect(Array(header[..<10]) == [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0])
    #expect(
      String(decoding: header[10...], as: UTF8.self).hasPrefix(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (640, 128), }  "))
    #expect(header.last == UInt8(ascii: "\n"))
    #expect(String(decoding: NumpyFile.header(shape(5)), as: UTF8.self).contains("'shape': (5,), }"))
    #expect(String(decoding: NumpyFile.header(Shape([])!), as: UTF8.self).contains("'shape': (), }"))
  }
}
