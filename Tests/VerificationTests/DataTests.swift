import TestSupport
import Testing
import Verification

/// Files of prompts.
@Suite struct DataTests {
  private func data(_ text: String) throws(VerificationError) -> VerificationData {
    try VerificationData(prompts: Array(text.utf8), path: "q.jsonl")
  }

  @Test func everyLineIsAPrompt() throws {
    let data = try data(
      "{\"prompt\": \"a\", \"answer\": \"b\", \"task\": \"t\", \"note\": 1}\n\n \r\n"
        + "{\"prompt\": \"c\", \"answer\": null, \"chosen\": \"d\", \"rejected\": \"e\"}")
    #expect(data.prompts.map(\.prompt) == ["a", "c"] && data.prompts.map(\.line) == [1, 4])
    #expect(data.prompts[0].answer == "b" && data.prompts[0].task == "t" && data.prompts[1].answer == nil)
    #expect(data.prompts[1].chosen == "d" && data.prompts[1].rejected == "e")
    #expect(data.unusedKeys == ["note"] && data.source == "q.jsonl")
    #expect(VerificationData().prompts.count == 12 && VerificationData().source == "built-in")
  }

  @Test("sets of questions as they are published, by the names of their fields")
  func published() throws {
    let data = try data(
      #"""
      {"question": "Natalia sold clips to 48 friends. How many?", "answer": "48+24=<<48+24=72>>72\n#### 72"}
      {"text": "Write a function to add.", "code": "def add(a, b): return a + b", "task_id": 11, "test_setup_code": "", "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], "challenge_test_list": []}
      {"source_file": "x", "task_id": 2, "prompt": "Write a function to negate.", "code": "def f(x): return -x", "test_imports": [], "test_list": ["assert f(1) == -1"]}
      {"task_id": "HumanEval/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n", "test": "def check(c): assert c() == 1"}
      {"prompt": "ours", "answer": "a", "task": "t"}
      {"prompt": "ours too", "question": "which?", "answer": "b"}
      """#)
    #expect(data.prompts[0].prompt == "Natalia sold clips to 48 friends. How many?")
    #expect(data.prompts[0].answer?.hasSuffix("#### 72") == true)
    #expect(
      data.prompts[1].prompt
        == "You are an expert Python programmer, and here is your task: Write a function to add. "
        + "Your code should pass these tests:\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0")
    #expect(data.prompts[1].answer == "def add(a, b): return a + b" && data.prompts[2].answer == "def f(x): return -x")
    #expect(data.prompts[2].prompt.contains("negate. Your code"))
    #expect(data.prompts[3].prompt == "def one():\n" && data.prompts[3].answer == "    return 1\n")
    #expect(data.prompts[4].answer == "a" && data.prompts[4].task == "t")
    #expect(data.prompts[5].prompt == "ours too" && data.prompts[5].answer == "b")
    #expect(
      data.unusedKeys == [
        "challenge_test_list", "entry_point", "question", "source_file", "task_id", "test", "test_imports",
        "test_setup_code",
      ])
  }

  @Test(
    "what is no prompt is refused by its line",
    arguments: [
      ("{\"prompt\": \"a\"}\n[]", "is an array, not an object", 2),
      ("\n{\"prompt\": 3}", "`prompt` is a number, not a string", 2),
      ("{\"answer\": \"a\"}", "has no `prompt`", 1), ("{\"prompt\": \"\"}", "has no `prompt`", 1),
      ("{\"prompt\": \"a\", \"chosen\": \"b\"}", "has one of `chosen` and `rejected`; a pair needs both", 1),
      ("\n \n", "holds no prompts", nil),
      (#"{"text": "a", "code": "b", "test_list": [1]}"#, "`test_list` is no array of strings", 1),
      (#"{"question": 1, "answer": "b"}"#, "`question` is a number, not a string", 1),
    ] as [(String, String, Int?)])
  func refusals(text: String, detail: String, line: Int?) {
    do throws(VerificationError) {
      _ = try data(text)
      Issue.record("it was read")
    } catch {
      guard case .prompts(let found, path: "q.jsonl", let place) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(found == detail && place == line)
    }
  }
}
