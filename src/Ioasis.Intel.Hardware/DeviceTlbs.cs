using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <summary>Invalidation Requests to device-TLBs and their completions (section 4.3). Under the register lock.</summary>
internal sealed class DeviceTlbs(VtdIommuOptions options, FaultRecorder faults, UnitOutbox outbox)
{
    private const byte InvalidationRequestCode = 1;

    private struct Tag
    {
        public bool IsBusy;
        public ushort SourceId;
        public int Completions;
    }

    private readonly Tag[] _tags = new Tag[options.DeviceTlbTags];
    private int _busy;

    /// <summary>Whether some request is not answered.</summary>
    public bool IsWaiting => _busy != 0;

    /// <summary><c>IQERCD_REG.ITESID</c>.</summary>
    public ushort TimeoutSource { get; private set; }

    /// <summary><c>IQERCD_REG.ICESID</c>.</summary>
    public ushort CompletionErrorSource { get; private set; }

    /// <summary>Sends an Invalidation Request if a tag is free, the lowest one.</summary>
    /// <param name="sourceId">The device.</param>
    /// <param name="pasid">The PASID, or <see cref="Pasid.Invalid"/>.</param>
    /// <param name="payload">PCIe's: the address in 63:12, S at 11, Global Invalidate at 0.</param>
    public bool TrySend(ushort sourceId, Pasid pasid, ulong payload)
    {
        for (int i = 0; i < _tags.Length; i++)
        {
            if (!_tags[i].IsBusy)
            {
                _tags[i] = new() { IsBusy = true, SourceId = sourceId };
                _busy++;
                outbox.Post(new(
                    DepartureKind.InvalidationRequest,
                    Message: new(InvalidationRequestCode, sourceId, (ushort)options.Segment, pasid, payload, (byte)i)));
                return true;
            }
        }

        return false;
    }

    /// <summary>Takes an Invalidation Completion: valid tags first, then an error for the others.</summary>
    public bool Complete(in PcieMessage message)
    {
        int wanted = (int)(message.Payload >> 32) & 7;
        uint invalid = 0;
        for (int i = 0; i < 32; i++)
        {
            if ((message.Payload >> i & 1) == 0)
            {
                continue;
            }

            if (i >= _tags.Length || !_tags[i].IsBusy || _tags[i].SourceId != message.RequesterId)
            {
                invalid |= 1u << i;
                continue;
            }

            _tags[i].Completions = (_tags[i].Completions + 1) & 7;
            if (_tags[i].Completions == wanted)
            {
                _tags[i].IsBusy = false;
                _busy--;
            }
        }

        if (invalid != 0)
        {
            CompletionErrorSource = faults.HasCompletionError ? CompletionErrorSource : message.RequesterId;
            faults.SetError(FaultStatus.CompletionErrorBit);
        }

        return invalid == 0;
    }

    /// <summary>The time of tags is over: they are freed, and ITE is set.</summary>
    public void TimeOut(uint tags)
    {
        for (int i = 0; i < _tags.Length; i++)
        {
            if ((tags >> i & 1) != 0 && _tags[i].IsBusy)
            {
                _tags[i].IsBusy = false;
                _busy--;
                TimeoutSource = faults.HasTimeoutError ? TimeoutSource : _tags[i].SourceId;
                faults.SetError(FaultStatus.TimeoutErrorBit);
            }
        }
    }
}
