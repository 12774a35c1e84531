import com.fasterxml.jackson.core.JsonProcessingException;
import java.math.BigDecimal;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import taskstatus.ApiClient;
import taskstatus.ApiException;
import taskstatus.ApiResponse;
import taskstatus.api.ActionsApi;
import taskstatus.api.TasksApi;
import taskstatus.model.Cancellation;
import taskstatus.model.FailureKind;
import taskstatus.model.Problem;
import taskstatus.model.Submission;
import taskstatus.model.TaskList;
import taskstatus.model.TaskState;
import taskstatus.model.TaskStatus;

/** Uses each operation of the generated Java client; compiled, then run against the live service. */
final class Follow {
  private static final ApiClient CLIENT = new ApiClient();
  private static final TasksApi TASKS;
  private static final ActionsApi ACTIONS;

  static {
    CLIENT.updateBaseUri(System.getenv("TASK_STATUS_URL"));
    String key = System.getenv("TASK_STATUS_API_KEY");
    CLIENT.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
    TASKS = new TasksApi(CLIENT);
    ACTIONS = new ActionsApi(CLIENT);
  }

  private static void check(boolean holds, Object seen) {
    if (!holds) {
      throw new AssertionError(seen);
    }
  }

  private interface Request {
    Object send() throws ApiException;
  }

  private static Problem problemOf(Request request) throws Exception {
    try {
      throw new AssertionError(request.send());
    } catch (ApiException failed) {
      return CLIENT.getObjectMapper().readValue(failed.getResponseBody(), Problem.class);
    }
  }

  private static TaskStatus submit(String name, Map<String, Object> arguments, Map<String, String> labels)
      throws ApiException {
    return TASKS.submitTask(new Submission().name(name).kwargs(arguments).labels(labels), null, null, null);
  }

  private static TaskStatus end(String id) throws ApiException {
    TaskStatus task = TASKS.getTask(id, null, BigDecimal.valueOf(20), null);
    check(task.getDone(), task);
    return task;
  }

  private static int poll() throws Exception {
    TaskStatus task = submit("demo.sleep", Map.of("seconds", 3), Map.of());
    String etag = "";
    int unchanged = 0;
    while (!task.getDone()) {
      Map<String, List<String>> headers;
      try {
        ApiResponse<TaskStatus> response = TASKS.getTaskWithHttpInfo(task.getId(), etag, null, null);
        task = response.getData();
        headers = response.getHeaders();
      } catch (ApiException notModified) {
        check(notModified.getCode() == 304, notModified);
        headers = notModified.getResponseHeaders().map();
        unchanged++;
      }
      etag = headers.get("etag").get(0);
      if (!task.getDone()) {
        Thread.sleep(Long.parseLong(headers.get("retry-after").get(0)) * 1000);
      }
    }
    TaskState state = task.getState();
    check(state == TaskState.SUCCEEDED && ((Number) task.getResult()).intValue() == 3 && unchanged > 0, task);
    return unchanged;
  }

  private static int walk() throws Exception {
    String walk = "java-" + System.nanoTime();
    for (int number = 0; number < 5; number++) {
      submit("demo.add", Map.of("x", 1, "y", number), Map.of("walk", walk));
    }
    Set<String> found = new HashSet<>();
    int pages = 0;
    String cursor = null;
    do {
      TaskList page = TASKS.listTasks(null, null, null, List.of("walk:" + walk), null, null, 2, cursor);
      page.getItems().forEach(task -> found.add(task.getId()));
      cursor = page.getNextCursor();
      pages++;
    } while (cursor != null);
    check(found.size() == 5 && pages == 3, found);
    return pages;
  }

  public static void main(String[] arguments) throws Exception {
    int unchanged = poll();

    Map<String, Object> details = new HashMap<>(Map.of("message", "too much", "details", Map.of("field", "amount")));
    TaskStatus failed = end(submit("demo.fail_with_details", details, Map.of()).getId());
    check(failed.getState() == TaskState.FAILED, failed);
    check(failed.getFailure().getKind() == FailureKind.EXCEPTION, failed);
    check(failed.getFailure().getMessage().equals("too much"), failed);

    check(problemOf(() -> TASKS.getTask("no-such-task", null, null, null)).getType().equals("/problems/task-not-found"), 404);
    Problem invalid = problemOf(() -> submit("demo.add", Map.of("x", "two", "y", 3), Map.of()));
    check(invalid.getErrors().get(0).getPointer().equals("#/kwargs/x"), invalid);

    String running = submit("demo.sleep", Map.of("seconds", 600), Map.of()).getId();
    ACTIONS.cancelTask(running, new Cancellation().terminate(true));
    check(end(running).getState() == TaskState.CANCELED, running);
    // The client sends an omitted body as `null`.
    check(ACTIONS.cancelTask(running, new Cancellation()).getState() == TaskState.CANCELED, running);

    int pages = walk();

    // A later version of the service may send a new member, which is ignored, or a new state, which is an error.
    String text = CLIENT.getObjectMapper().writeValueAsString(failed);
    String added = text.replaceFirst("\\{", "{\"added_later\":\"ignored\",");
    check(CLIENT.getObjectMapper().readValue(added, TaskStatus.class).getState() == TaskState.FAILED, added);
    String paused = text.replace("\"state\":\"failed\"", "\"state\":\"paused\"");
    try {
      throw new AssertionError(CLIENT.getObjectMapper().readValue(paused, TaskStatus.class));
    } catch (JsonProcessingException expected) {
      System.out.println("followed " + (unchanged > 0) + " " + pages);
    }
  }
}
