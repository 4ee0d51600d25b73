using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Bringing a device to a state that was recorded, behind its driver's back: a replay of a recording does that.</content>
public sealed partial class RiscVIommu
{
    /// <summary>Puts the registers in a doubleword to recorded values, with no regard to access rules and without side effects.</summary>
    internal void RestoreRegister(uint offset, ulong value)
    {
        using (_lock.Acquire())
        {
            switch (offset)
            {
                case RegisterOffset.Capabilities:
                    Options = Options with { Capabilities = value };
                    AdoptOptions();
                    break;
                case RegisterOffset.FeaturesControl:
                    _fctl = (uint)value;
                    break;
                case RegisterOffset.DeviceDirectoryTablePointer:
                    _ddtp = value;
                    break;
                case RegisterOffset.CommandQueueBase:
                    _commandQueue.Base = value;
                    break;
                case RegisterOffset.CommandQueueHead:
                    (_commandQueue.Head, _commandQueue.Tail) = ((uint)value, (uint)(value >> 32));
                    break;
                case RegisterOffset.FaultQueueBase:
                    _faultQueue.Base = value;
                    break;
                case RegisterOffset.FaultQueueHead:
                    (_faultQueue.Head, _faultQueue.Tail) = ((uint)value, (uint)(value >> 32));
                    break;
                case RegisterOffset.PageRequestQueueBase:
                    _pageQueue.Base = value;
                    break;
                case RegisterOffset.PageRequestQueueHead:
                    (_pageQueue.Head, _pageQueue.Tail) = ((uint)value, (uint)(value >> 32));
                    break;
                case RegisterOffset.CommandQueueCsr:
                    (_commandQueue.Csr, _faultQueue.Csr) = ((uint)value, (uint)(value >> 32));
                    break;
                case RegisterOffset.PageRequestQueueCsr:
                    (_pageQueue.Csr, _ipsr) = ((uint)value, (uint)(value >> 32));
                    break;
                case RegisterOffset.TranslationRequestIova:
                    _trReqIova = value;
                    break;
                case RegisterOffset.TranslationRequestControl:
                    _trReqCtl = value;
                    break;
                default:
                    WriteRegister(offset, value);
                    break;
            }

            PublishConfiguration();
        }
    }

    /// <summary>Empties all caches.</summary>
    internal void EmptyCaches()
    {
        using (_cacheLock.Acquire())
        {
            ForgetSpaces();
            _hostile?.Clear();
        }
    }

    /// <summary>Changes what the embedder chose, in flight.</summary>
    internal void Reconfigure(RiscVIommuOptions options)
    {
        using (_lock.Acquire())
        {
            Options = Validate(options) with { Capabilities = _capabilities.Value };
            AdoptOptions();
        }
    }
}
