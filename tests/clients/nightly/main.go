// Uses each operation of the generated Go client; compiled, then run against the live service.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"example.com/follow/taskstatus"
)

func check(holds bool, seen any) {
	if !holds {
		panic(fmt.Sprintf("%+v", seen))
	}
}

func problemOf(err error) taskstatus.Problem {
	var failed *taskstatus.GenericOpenAPIError
	check(errors.As(err, &failed), err)
	problem, isProblem := failed.Model().(taskstatus.Problem)
	check(isProblem, err)
	return problem
}

func main() {
	configuration := taskstatus.NewConfiguration()
	configuration.Servers[0].URL = os.Getenv("TASK_STATUS_URL")
	configuration.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("TASK_STATUS_API_KEY"))
	client := taskstatus.NewAPIClient(configuration)
	ctx := context.Background()

	submit := func(name string, arguments map[string]any, labels map[string]string) *taskstatus.TaskStatus {
		submission := taskstatus.NewSubmission(name)
		submission.SetKwargs(arguments)
		submission.SetLabels(labels)
		task, _, err := client.TasksAPI.SubmitTask(ctx).Submission(*submission).Execute()
		check(err == nil, err)
		return task
	}
	wait := func(id string) *taskstatus.TaskStatus {
		task, _, err := client.TasksAPI.GetTask(ctx, id).Wait(20).Execute()
		check(err == nil && task.Done, err)
		return task
	}
	none := map[string]string{}

	// Poll until the task is done, with the pauses of Retry-After; the client returns a 304 as an error without a model.
	task := submit("demo.sleep", map[string]any{"seconds": 3}, none)
	etag, unchanged := "", 0
	for !task.Done {
		now, response, err := client.TasksAPI.GetTask(ctx, task.Id).IfNoneMatch(etag).Execute()
		if response.StatusCode == http.StatusNotModified {
			check(err != nil && now == nil, now)
			unchanged++
		} else {
			check(err == nil, err)
			task = now
		}
		etag = response.Header.Get("ETag")
		if !task.Done {
			seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
			check(err == nil, err)
			time.Sleep(time.Duration(seconds) * time.Second)
		}
	}
	var state taskstatus.TaskState = task.State
	check(state == taskstatus.TASKSTATE_SUCCEEDED && task.Result == 3.0 && unchanged > 0, task)

	failed := wait(submit("demo.fail_with_details", map[string]any{"message": "too much", "details": map[string]any{}}, none).Id)
	failure := failed.Failure.Get()
	check(failed.State == taskstatus.TASKSTATE_FAILED && failure.Kind == taskstatus.FAILUREKIND_EXCEPTION, failed)
	check(failure.GetMessage() == "too much", failure)

	_, _, err := client.TasksAPI.GetTask(ctx, "no-such-task").Execute()
	check(problemOf(err).Type == "/problems/task-not-found", err)
	invalid := taskstatus.NewSubmission("demo.add")
	invalid.SetKwargs(map[string]any{"x": "two", "y": 3})
	_, _, err = client.TasksAPI.SubmitTask(ctx).Submission(*invalid).Execute()
	pointer := problemOf(err).Errors[0].Pointer
	check(*pointer.Get() == "#/kwargs/x", err)

	running := submit("demo.sleep", map[string]any{"seconds": 600}, none)
	cancellation := taskstatus.NewCancellation()
	cancellation.SetTerminate(true)
	_, _, err = client.ActionsAPI.CancelTask(ctx, running.Id).Cancellation(*cancellation).Execute()
	check(err == nil && wait(running.Id).State == taskstatus.TASKSTATE_CANCELED, err)
	// The client sends an omitted body as `null`.
	_, response, err := client.ActionsAPI.CancelTask(ctx, running.Id).Cancellation(taskstatus.Cancellation{}).Execute()
	check(err == nil && response.StatusCode == http.StatusOK, err)

	walk := fmt.Sprintf("go-%d", time.Now().UnixNano())
	for number := range 5 {
		submit("demo.add", map[string]any{"x": 1, "y": number}, map[string]string{"walk": walk})
	}
	cursor, pages, found := "", 0, map[string]bool{}
	for {
		request := client.TasksAPI.ListTasks(ctx).Label([]string{"walk:" + walk}).Limit(2)
		if cursor != "" {
			request = request.Cursor(cursor)
		}
		page, _, err := request.Execute()
		check(err == nil, err)
		for _, item := range page.Items {
			found[item.Id] = true
		}
		pages++
		if cursor = page.GetNextCursor(); cursor == "" {
			break
		}
	}
	check(len(found) == 5 && pages == 3, found)

	// A later version of the service may send a new member, which is kept, or a new state, which is an error.
	_, response, err = client.TasksAPI.GetTask(ctx, failed.Id).Execute()
	check(err == nil, err)
	text, err := io.ReadAll(response.Body)
	check(err == nil, err)
	var later taskstatus.TaskStatus
	added := bytes.Replace(text, []byte("{"), []byte(`{"added_later":"kept",`), 1)
	check(json.Unmarshal(added, &later) == nil && later.AdditionalProperties["added_later"] == "kept", later)
	paused := bytes.Replace(text, []byte(`"state":"failed"`), []byte(`"state":"paused"`), 1)
	check(json.Unmarshal(paused, &later) != nil, later)
	fmt.Println("followed", unchanged > 0, pages)
}
