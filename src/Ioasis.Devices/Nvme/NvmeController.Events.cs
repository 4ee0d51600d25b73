namespace Ioasis.Devices.Nvme;

/// <summary>Types of asynchronous events (base specification 2.0, figure 146).</summary>
internal enum NvmeEventType
{
    /// <summary>An error of the driver or the controller.</summary>
    Error = 0,

    /// <summary>Health.</summary>
    Health = 1,

    /// <summary>Something changed.</summary>
    Notice = 2,
}

/// <summary>What an event of type "error" tells (figure 147).</summary>
internal static class NvmeErrorEvent
{
    /// <summary>A doorbell of a queue that does not exist.</summary>
    public const int InvalidDoorbellRegister = 0;

    /// <summary>A doorbell value that is not possible.</summary>
    public const int InvalidDoorbellValue = 1;
}

/// <content>
/// Asynchronous events: each completes one of the requests that wait for it (base specification 2.0, section 5.2). An event type that
/// was told is silent until its log page is read.
/// </content>
public sealed partial class NvmeController
{
    private const int EventRequestLimit = 4;
    private const int LogError = 1;
    private const int LogHealth = 2;
    private const int LogChangedNamespaces = 4;
    private const int HealthTemperature = 1;
    private const int NoticeNamespace = 0;

    private readonly List<ushort> _eventRequests = [];
    private readonly Queue<(NvmeEventType Type, int Information, int Log)> _events = new();
    private readonly SortedSet<uint> _changedNamespaces = [];
    private int _silentTypes;

    private NvmeResult ExecuteAsyncEventRequest(in NvmeCommand command)
    {
        if (_eventRequests.Count >= EventRequestLimit)
        {
            return NvmeResult.Refuse(NvmeStatus.AsyncEventLimitExceeded);
        }

        _eventRequests.Add(command.Id);
        return NvmeResult.Pending;
    }

    private void RaiseEvent(NvmeEventType type, int information)
    {
        int log = type switch
        {
            NvmeEventType.Error => LogError,
            NvmeEventType.Health => LogHealth,
            _ => LogChangedNamespaces,
        };

        // The same news once; a driver that does not listen is not told of the oldest for ever.
        if ((_silentTypes & (1 << (int)type)) != 0 || _events.Contains((type, information, log)) || _events.Count >= 64)
        {
            return;
        }

        _events.Enqueue((type, information, log));
    }

    // Feature 0bh says which of these the driver wants (section 5.27.1.8); errors are always told.
    private void TellTemperature()
    {
        if (_features.IsTemperatureWrong && (_features.WantedEvents & (1 << 1)) != 0)
        {
            RaiseEvent(NvmeEventType.Health, HealthTemperature);
        }
    }

    private void TellNamespaceChange(uint id)
    {
        if ((_features.WantedEvents & NvmeFeatures.NamespaceNotices) != 0)
        {
            _ = _changedNamespaces.Add(id);
            RaiseEvent(NvmeEventType.Notice, NoticeNamespace);
        }
    }

    private void PostEvents()
    {
        if (!CanWork || _submission[0] is not { } admin)
        {
            return;
        }

        bool hasPosted = false;
        while (_events.Count > 0 && _eventRequests.Count > 0)
        {
            (NvmeEventType type, int information, int log) = _events.Dequeue();
            if ((_silentTypes & (1 << (int)type)) != 0)
            {
                // Told already, and the driver has not read the log.
                continue;
            }

            _silentTypes |= 1 << (int)type;
            ushort id = _eventRequests[0];
            _eventRequests.RemoveAt(0);
            Complete(admin, id, new(NvmeStatus.Success, (ulong)(uint)((int)type | (information << 8) | (log << 16))));
            hasPosted = true;
        }

        if (hasPosted)
        {
            Flush(admin.Completion);
        }
    }

    // The log page of an event was read: the next may be told.
    private void AcknowledgeEvents(int log)
    {
        if (log == LogChangedNamespaces)
        {
            _changedNamespaces.Clear();
        }

        _silentTypes &= log switch
        {
            LogError => ~(1 << (int)NvmeEventType.Error),
            LogHealth => ~(1 << (int)NvmeEventType.Health),
            LogChangedNamespaces => ~(1 << (int)NvmeEventType.Notice),
            _ => ~0,
        };
    }

    private NvmeResult ExecuteAbort(in NvmeCommand command)
    {
        ushort queue = (ushort)command.Word10;
        ushort id = (ushort)(command.Word10 >> 16);
        int index = queue == 0 ? _eventRequests.IndexOf(id) : -1;
        if (index >= 0)
        {
            _eventRequests.RemoveAt(index);
            Complete(_submission[0]!, id, NvmeStatus.AbortRequested);
            return new(NvmeStatus.Success, 0);
        }

        // Bit 0 of the result: it was not aborted, for it is not there any more (section 5.1).
        bool isAborted = queue < _submission.Length && _submission[queue] is { } submission
            && EndPending(submission, id, NvmeStatus.AbortRequested) > 0;
        return new(NvmeStatus.Success, isAborted ? 0u : 1);
    }

    private void ResetEvents()
    {
        _eventRequests.Clear();
        _events.Clear();
        _changedNamespaces.Clear();
        _silentTypes = 0;
    }
}
