using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <content>The way of a request that no cache answers at once, and how it ends (Table 30).</content>
public sealed partial class VtdIommu
{
    private enum Route
    {
        /// <summary>There is a translation.</summary>
        Translated,

        /// <summary>A request without PASID to the interrupt address range: its way is another (section 3.15).</summary>
        InterruptRange,

        /// <summary>A fault is noted in the request.</summary>
        Faulted,

        /// <summary>Not supported, and nothing to report.</summary>
        Unsupported,
    }

    private Request MakeRequest(in DmaRequest dma, bool isZeroLength)
    {
        bool isTranslationRequest = dma.Kind == DmaKind.TranslationRequest;
        bool noWrite = _hasNoWriteFlag && (dma.Flags & DmaFlags.NoWrite) != 0;
        bool write = (dma.Flags & DmaFlags.Write) != 0;
        return new()
        {
            Requester = dma.Device.Value ^ _segmentBits,
            Kind = dma.Kind,
            HasPasid = dma.HasPasid,
            Pasid = dma.HasPasid ? dma.Pasid.Value : 0,
            Supervisor = dma.HasPasid && (dma.Flags & DmaFlags.Privileged) != 0,
            Execute = dma.HasPasid && (dma.Flags & DmaFlags.Execute) != 0,
            Address = dma.Address.Value,
            IsZeroLength = isZeroLength,

            // With NW=0 it counts as an atomic operation, with NW=1 as a read (section 4.2.3.1).
            Writes = isTranslationRequest ? !noWrite : write,
            Reads = isTranslationRequest || !write,

            // Before the configuration is read, so that what an older one leads to is never filled in.
            FillSequence = Volatile.Read(ref _cacheState.Sequence),
        };
    }

    private Route Resolve(ref Request request, out Context context, out Translation found)
    {
        Configuration configuration = _registers.Configuration;
        context = default;
        found = default;
        if (request.Requester >> 16 != 0
            || request.Pasid > Pasid.MaxValue
            || (request.Kind == DmaKind.Translated && request.HasPasid)
            || request.Kind > DmaKind.Translated)
        {
            return Route.Unsupported;
        }

        bool inRange = !request.HasPasid && InterruptAddress.Contains(request.Address);
        if (inRange && request.Kind == DmaKind.Untranslated)
        {
            return Route.InterruptRange;
        }

        if (!configuration.TranslationEnabled)
        {
            found.Address = request.Address;
            found.SizeLog2 = PageShift;
            return request.Kind == DmaKind.Untranslated ? Route.Translated : Route.Unsupported;
        }

        if (request.Kind == DmaKind.Translated)
        {
            return ResolveTranslated(configuration, ref request, out context, out found);
        }

        if (_hostile is { } hostile)
        {
            return ResolveHostile(hostile, configuration, ref request, inRange, out context, out found);
        }

        CachedContext? cached = request.Kind == DmaKind.Untranslated && !request.Execute ? _caches.Find(request.Key) : null;
        if (cached is null)
        {
            if (!_contextWalker.TryFind(configuration, ref request, out context))
            {
                return Route.Faulted;
            }

            if (inRange)
            {
                return Route.InterruptRange;
            }

            cached = _caches.Add(request, context);
        }
        else
        {
            context = cached.Context;
            request.FaultDisable |= context.FaultDisable;
            request.Supervisor = request.HasPasid ? request.Supervisor : context.RidPrivilege;
            if (request.Supervisor && !context.AllowsSupervisor)
            {
                return Fail(ref request, FaultReason.SupervisorDisabled);
            }
        }

        bool translated = _translator.TryTranslate(ref request, context, out found);
        if (cached is not null)
        {
            cached.Counters?.CountMiss(request.MemoryReads);
            if (translated)
            {
                _caches.Fill(request, cached, found);
            }
        }

        return translated ? Route.Translated : Route.Faulted;
    }

    private static Route Fail(ref Request request, FaultReason reason)
    {
        _ = request.Fail(reason);
        return Route.Faulted;
    }

    // Section 4.2.5: the context says whether, and then the address is the host's.
    private Route ResolveTranslated(Configuration configuration, ref Request request, out Context context, out Translation found)
    {
        found = new() { Address = request.Address, SizeLog2 = PageShift };
        if (!_contextWalker.TryFind(configuration, ref request, out context))
        {
            return Route.Faulted;
        }

        return (request.Address & _beyondMask) != 0
                ? Fail(ref request, context.IsLegacy ? FaultReason.AddressBeyondWidth : FaultReason.AddressBeyondHost)
            : InterruptAddress.Contains(request.Address)
                ? Fail(ref request, context.IsLegacy ? FaultReason.OutputInInterruptRange : FaultReason.ScalableOutputInInterruptRange)
            : Route.Translated;
    }

    // What is in the IOTLB serves before any table is looked at: an untranslated request needs not even a context (section 6.2.7).
    private Route ResolveHostile(
        HostileTranslations hostile, Configuration configuration, ref Request request, bool inRange, out Context context, out Translation found)
    {
        context = default;
        bool isPlain = request.Kind == DmaKind.Untranslated && !request.Execute && configuration.ModeFault == FaultReason.None
            && (configuration.Mode == TranslationTableMode.Scalable || !request.HasPasid);
        if (isPlain && hostile.TryFind(request, out TranslationEntry entry) && TryServe(ref request, entry, out found, out bool permitted))
        {
            request.FaultDisable |= entry.FaultDisable;
            return permitted ? Route.Translated : Route.Faulted;
        }

        found = default;
        if (!_contextWalker.TryFind(configuration, ref request, out context))
        {
            return Route.Faulted;
        }

        if (inRange)
        {
            return Route.InterruptRange;
        }

        if (request.Kind == DmaKind.TranslationRequest
            && hostile.TryFind(request, out entry)
            && TryServe(ref request, entry, out found, out permitted)
            && permitted)
        {
            return Route.Translated;
        }

        if (_translator.TryTranslate(ref request, context, out found))
        {
            hostile.Add(request, context, request.Address, found);
            return Route.Translated;
        }

        if (hostile.CachingMode && !context.HasFirstStage && request.Kind == DmaKind.Untranslated)
        {
            RememberFault(hostile, request, context, found);
        }

        return Route.Faulted;
    }

    // Caching mode: a lack of rights is held as the rights that there are.
    private static void RememberFault(HostileTranslations hostile, in Request request, in Context context, Translation found)
    {
        if (request.Fault is FaultReason.ReadDenied or FaultReason.WriteDenied or FaultReason.ScalableReadDenied or FaultReason.ScalableWriteDenied)
        {
            Translator.Settle(request, context, ref found);
            hostile.Add(request, context, request.Address, found);
        }
        else
        {
            hostile.AddFault(request, context, request.Fault);
        }
    }

    // Whether an entry serves: not if a flag has to be set first, and not a supervisor whose rights it does not have.
    private bool TryServe(ref Request request, in TranslationEntry entry, out Translation found, out bool permitted)
    {
        permitted = false;
        found = entry.Translation;
        if (entry.Fault != FaultReason.None)
        {
            return request.Kind == DmaKind.Untranslated && !request.Fail(entry.Fault);
        }

        ulong offset = (1ul << found.SizeLog2) - 1;
        found.Address = (found.Address & ~offset) | (request.Address & offset);
        bool write = request.Writes && found.CanWrite(request.Supervisor);
        if ((write && !found.IsDirty)
            || (request.Supervisor && request.HasPasid && !found.SupervisorRead && !found.SupervisorWrite))
        {
            return false;
        }

        permitted = _translator.Permits(ref request, entry.Type, entry.IsLegacy, found);
        return true;
    }

    private static DmaTranslation Complete(in Request request, in Context context, in Translation found)
    {
        if (request.Kind != DmaKind.TranslationRequest)
        {
            return new(new(found.Address), DmaStatus.Success, (byte)found.SizeLog2);
        }

        // Section 4.2.3, Table 10.
        DmaTranslationFlags flags = request.HasPasid && request.Supervisor ? DmaTranslationFlags.Privileged : DmaTranslationFlags.None;
        bool read = found.CanRead(request.Supervisor);
        bool write = request.Writes && found.CanWrite(request.Supervisor);
        if (!read && !write)
        {
            return new(default, DmaStatus.Success, PageShift, 0, flags);
        }

        flags |= (read ? DmaTranslationFlags.Read : 0) | (write ? DmaTranslationFlags.Write : 0)
            | (found.Snoop || context.PageSnoop ? DmaTranslationFlags.NoSnoop : 0);
        return new(new(found.Address), DmaStatus.Success, (byte)found.SizeLog2, 0, flags);
    }

    // Conditions S.1 and S.2 of Table 30: devices may ask for the address of their interrupts.
    private static DmaTranslation CompleteInterruptRange(in Request request) => new(
        default,
        DmaStatus.Success,
        PageShift,
        0,
        request.Writes ? DmaTranslationFlags.Write | DmaTranslationFlags.UntranslatedOnly : DmaTranslationFlags.None);

    // Called outside of the access: reports the fault, if it is one to report, and says how the request ends.
    private DmaTranslation Conclude(ref Request request, Route route)
    {
        if (route == Route.Unsupported)
        {
            return new(default, DmaStatus.UnsupportedRequest);
        }

        if (route == Route.InterruptRange)
        {
            request.Fault = FaultReason.InterruptRequestInvalid;
            RecordInterrupt(request, report: true, 0);
            return new(default, DmaStatus.UnsupportedRequest);
        }

        TranslationRequestOutcome outcome = request.Kind != DmaKind.TranslationRequest
            ? FaultReasons.AbortsTranslatedRequest(request.Fault) && request.Kind == DmaKind.Translated
                ? TranslationRequestOutcome.CompleterAbort
                : TranslationRequestOutcome.UnsupportedRequest
            : FaultReasons.ForTranslationRequest(request.Fault);
        if (outcome != TranslationRequestOutcome.NoPermission)
        {
            using (_lock.Acquire())
            {
                RecordUnlessDisabled(request);
            }

            _outbox.Deliver();
        }

        return outcome switch
        {
            TranslationRequestOutcome.UnsupportedRequest => new(default, DmaStatus.UnsupportedRequest),
            TranslationRequestOutcome.CompleterAbort => new(default, DmaStatus.CompleterAbort),
            _ => new(
                default,
                DmaStatus.Success,
                PageShift,
                0,
                request.HasPasid && request.Supervisor ? DmaTranslationFlags.Privileged : DmaTranslationFlags.None),
        };
    }

    // Register lock held.
    private void RecordUnlessDisabled(in Request request)
    {
        if (!request.FaultDisable || !FaultReasons.IsQualified(request.Fault))
        {
            _faults.Record(request);
        }
    }

    private DmaStatus DeliverInterrupt(ref Request request, ReadOnlySpan<byte> source, out bool report, out uint index)
    {
        uint data = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(source);
        bool delivered = _interrupts.TryDeliver(
            _registers.Configuration, request.SourceId, request.Address, data, out request.Fault, out index, out report);
        return delivered ? DmaStatus.Success : DmaStatus.UnsupportedRequest;
    }

    // While neither kind of remapping is enabled there is nothing that records (section 7.2.1).
    private void RecordInterrupt(in Request request, bool report, uint index)
    {
        Configuration configuration = _registers.Configuration;
        bool isActive = configuration.TranslationEnabled || configuration.InterruptRemappingEnabled
            || request.Fault == FaultReason.InterruptRemappingRequired;
        if (request.Fault == FaultReason.None || !report || !isActive)
        {
            return;
        }

        using (_lock.Acquire())
        {
            _faults.RecordInterrupt(request.SourceId, request.Fault, index);
        }

        _outbox.Deliver();
    }
}
