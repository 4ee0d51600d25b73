using System.Diagnostics;
using System.Globalization;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>A client's call as an activity (docs/telemetry.md): its name is the request's, its status the error.</summary>
internal static class CallActivity
{
    /// <summary>Begins the activity of a call; null if nobody listens.</summary>
    public static Activity? Start(OpenFile file, uint request) =>
        IoasisTelemetry.Activities.HasListeners()
            ? IoasisTelemetry.Activities.StartActivity(
                RequestNames.Of(file, request) ?? string.Create(CultureInfo.InvariantCulture, $"ioctl 0x{request:x}"), ActivityKind.Server)
            : null;

    /// <summary>Tells how the call ended.</summary>
    public static void End(this Activity activity, Errno error)
    {
        if (error != Errno.Success)
        {
            _ = activity.SetTag("error.type", error.ToString()).SetStatus(ActivityStatusCode.Error);
        }
    }
}
