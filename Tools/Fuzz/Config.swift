import Models
import Tensors

/// A configuration is refused at a place in the text, or its numbers can be calculated with.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  do throws(ModelError) {
    let c = try ModelConfiguration(json: input, path: "fuzz")
    guard c.rotaryDimension % 2 == 0, c.rotaryDimension <= c.headDimension, c.headCount % c.keyValueHeadCount == 0,
      c.expertCount % c.groupCount == 0, c.expertsPerToken <= c.expertCount, c.sharedIntermediateSize >= 0
    else { fatalError("accepted wrongly: \(c)") }
    // All tensors of a model of this size are listed, unless the list alone would take gigabytes.
    if c.layerCount * c.expertCount < 1000 {
      let items = c.architecture(hasTensor: { _ in false }).items(c, has: { _ in true })
      guard items.allSatisfy({ $0.tensors.allSatisfy { $0.shape.elementCount > 0 } }) else { fatalError("no elements") }
    }
  } catch {
    guard case .configuration(_, let detail, _, let byteOffset) = error, !detail.isEmpty,
      (0...input.count).contains(byteOffset ?? 0)
    else { fatalError("an error without a place: \(error)") }
  }
  return 0
}
